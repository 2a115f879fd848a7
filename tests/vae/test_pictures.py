"""Pictures of a run use the run's own data, binarisation and likelihood."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcli.engine.config import resolve
from dlcli.engine.runs import RunFolder
from dlcli.errors import UsageFault
from dlcli.vae import objective as continuous_bernoulli
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.images import load_test_images
from dlcli.vae.networks import build_model
from dlcli.vae.pictures import (
    busiest_dims,
    path_between_images,
    path_between_seeds,
    pick_test_images,
    reconstructions,
    sample_pictures,
    snapshot_epoch,
    snapshot_latents,
    take_snapshot,
    traversal,
)
from dlcli.vae.trained import Trained
from tests.vae.conftest import MakeVae


def trained(folder: Path, **given: Any) -> Trained:
    base = {"data": {"name": "glyphs:60"}, "model": {"latent_dim": 3, "hidden": [7]}}
    config = resolve(VaeTrainConfig, [base, given])
    torch.manual_seed(0)
    model = build_model(config.model).eval()
    return Trained(model=model, config=config, run=RunFolder(folder), checkpoint="last")


def test_samples_depend_on_the_seed_and_show_the_runs_own_means(tmp_path: Path) -> None:
    made = trained(tmp_path, objective={"likelihood": "continuous-bernoulli"})
    one, same, other = (sample_pictures(made, count=4, seed=seed) for seed in (1, 1, 2))
    assert one.images.tobytes() == same.images.tobytes() != other.images.tobytes()
    with torch.no_grad():
        logits = made.model.decode(torch.from_numpy(one.z))
    expected = continuous_bernoulli.mean(logits).view(4, 28, 28)
    assert np.allclose(one.images, expected.numpy(), atol=1e-6)


def test_reconstructions_are_of_the_runs_test_images(tmp_path: Path) -> None:
    made = trained(tmp_path)
    found = reconstructions(made, images=[3, 0], seed=0, notice=print)
    test = load_test_images(made.config.data, notice=print)
    assert np.allclose(found.inputs, test[[3, 0]].numpy() / 255)
    drawn = trained(tmp_path, data={"binarize": "dynamic"})
    found = reconstructions(drawn, images=[3, 0], seed=0, notice=print)
    assert set(np.unique(found.inputs)) == {0.0, 1.0}


def test_paths_have_the_ends_that_were_asked_for(tmp_path: Path) -> None:
    made = trained(tmp_path)
    between = path_between_images(made, images=[1, 4], steps=5, notice=print)
    ends = reconstructions(made, images=[1, 4], seed=0, notice=print)
    assert np.allclose(between.z[[0, -1]], ends.z, atol=1e-6)
    there = path_between_seeds(made, seeds=[1, 2], steps=5)
    back = path_between_seeds(made, seeds=[2, 1], steps=5)
    assert np.allclose(there.z, back.z[::-1], atol=1e-5)
    for wrong in ([], [1], [1, 2, 3]):
        with pytest.raises(UsageFault):
            path_between_images(made, images=wrong, steps=5, notice=print)
        with pytest.raises(UsageFault):
            path_between_seeds(made, seeds=wrong, steps=5)


def test_with_a_learned_prior_a_traversal_starts_with_what_moves_the_picture_most(
    tmp_path: Path, make_vae: MakeVae
) -> None:
    model = make_vae(flow=True)
    assert model.flow is not None
    with torch.no_grad():
        for parameter in model.flow.parameters():  # the identity
            parameter.zero_()
        first = next(model.decoder.parameters())  # (hidden, D)
        first.copy_(torch.ones_like(first) * torch.tensor([0.1, 0.5, 2.0]))
    made = dataclasses.replace(trained(tmp_path), model=model)
    assert busiest_dims(made) == [2, 1, 0]
    assert traversal(made, steps=3, notice=print).rows == ("z[2]", "z[1]", "z[0]")


def test_a_traversal_starts_with_the_latents_that_carry_most(tmp_path: Path) -> None:
    made = trained(tmp_path)
    assert busiest_dims(made) == [0, 1, 2]
    made.run.update_record(result={"kl_per_dim": [0.5, 0.0, 2.0]})
    found = traversal(made, steps=3, notice=print)
    assert found.rows == ("z[2]", "z[0]", "z[1]")
    at_image = traversal(made, dims=[1], steps=3, image=4, notice=print)
    z = reconstructions(made, images=[4], seed=0, notice=print).z[0]
    assert np.allclose(at_image.z[:, [0, 2]], z[[0, 2]], atol=1e-6)


def test_two_latents_make_a_plane_unless_rows_are_asked_for(tmp_path: Path) -> None:
    made = trained(tmp_path, model={"latent_dim": 2})
    assert traversal(made, steps=4, notice=print).images.shape == (16, 28, 28)
    assert traversal(made, dims=[0], steps=4, notice=print).rows == ("z[0]",)


@pytest.mark.parametrize("numbers", [[], [-1], [0, 12]])
def test_images_that_do_not_exist_are_refused(tmp_path: Path, numbers: list[int]) -> None:
    with pytest.raises(UsageFault):
        pick_test_images(trained(tmp_path), numbers, notice=print)


# -- Snapshots use the same latents at every epoch of a run


def test_latents_depend_on_the_seed_alone() -> None:
    z = snapshot_latents(0, latent_dim=3)
    assert z.shape == (64, 3)
    torch.manual_seed(99)
    assert torch.equal(z, snapshot_latents(0, latent_dim=3))
    assert not torch.equal(z, snapshot_latents(1, latent_dim=3))


def test_a_snapshot_shows_the_model_of_its_epoch(make_vae: MakeVae) -> None:
    before, after = (take_snapshot(make_vae(seed=s), seed=0, epoch=s) for s in (0, 1))
    assert (before.epoch, after.epoch) == (0, 1)
    assert np.array_equal(before.gallery.z, after.gallery.z)
    assert not np.array_equal(before.gallery.images, after.gallery.images)


@pytest.mark.parametrize(
    ("name", "epoch"),
    [("epoch-0010.pt", 10), ("epoch-0000.pt", 0), ("last.pt", None), ("epoch-x.pt", None)],
)
def test_epochs_are_read_from_names(name: str, epoch: int | None) -> None:
    assert snapshot_epoch(Path("checkpoints") / name) == epoch
