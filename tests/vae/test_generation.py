"""Pictures of a run: by its own data, pixels and likelihood; the same seed, the same bytes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import ContinuousBernoulli

from dlcli.engine.config import resolve
from dlcli.engine.runs import RunFolder
from dlcli.engine.seed import generator
from dlcli.errors import ConfigError, DataError, UsageFault
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.generation import (
    ImageModel,
    LatentPath,
    Reconstruction,
    decode_gallery,
    generate,
    interpolate,
    interpolate_images,
    interpolate_seeds,
    prior_latents,
    reconstruct,
    traverse,
)
from dlcli.vae.images import load_test_images
from dlcli.vae.trained import Trained, build_network
from tests.vae.conftest import make_vae


def make_trained(run: Path = Path("nowhere"), **given: Any) -> Trained:
    """A run of glyphs with a small random MLP, and any settings that are given."""
    base = {"data": {"name": "glyphs:60"}, "model": {"latent_dim": 3, "hidden": [7]}}
    config = resolve(VaeTrainConfig, [base, given])
    torch.manual_seed(0)
    model = build_network(config).vae.eval()
    return Trained(model=model, config=config, run=RunFolder(run), checkpoint="last")


def test_pixels_are_the_decoders_means_and_lie_in_order() -> None:
    vae = make_vae().train()
    z = torch.randn(7, 3, generator=generator(0))
    found = decode_gallery(vae, z, columns=4)
    assert vae.training
    with torch.no_grad():
        expected = torch.sigmoid(vae.eval().decode(z)).view(7, 28, 28)
    assert np.array_equal(found.images, expected.numpy())
    assert np.array_equal(found.z, z.numpy())
    assert found.images.dtype == np.float32
    assert (found.columns, found.label) == (4, "mean of p(x|z)")
    assert decode_gallery(vae, z).columns == 3


def test_chunks_leave_no_seam() -> None:
    vae, z = make_vae(), torch.randn(1003, 3, generator=generator(0))
    whole = decode_gallery(vae, z).images
    assert np.allclose(whole[498:503], decode_gallery(vae, z[498:503]).images, atol=1e-6)


@pytest.mark.parametrize("draw", [False, True])
def test_the_same_seed_gives_the_same_bytes(draw: bool) -> None:
    made = [generate(make_trained(), count=5, seed=seed, draw=draw) for seed in (1, 1, 2)]
    first, again, other = (gallery.images.tobytes() for gallery in made)
    assert first == again != other
    assert np.array_equal(made[0].z, generate(make_trained(), count=5, seed=1).z)
    assert (set(np.unique(made[0].images)) <= {0.0, 1.0}) == draw


def test_samples_show_the_means_of_the_runs_likelihood() -> None:
    made = make_trained(objective={"likelihood": "continuous-bernoulli"})
    found = generate(made, count=4, seed=1)
    with torch.no_grad():
        logits = made.model.decode(torch.from_numpy(found.z))
    expected = ContinuousBernoulli(logits=logits.double()).mean.view(4, 28, 28)
    assert np.allclose(found.images, expected.numpy(), atol=1e-5)


def test_temperature_scales_the_latents() -> None:
    warm, cold, still = (
        prior_latents(make_vae(), count=5, generator=generator(1), temperature=t)
        for t in (1.0, 0.25, 0.0)
    )
    assert torch.equal(cold, 0.25 * warm)
    assert not still.any()


@pytest.mark.parametrize("temperature", [-1.0, math.nan, math.inf])
def test_an_impossible_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(UsageFault):
        generate(make_trained(), count=3, seed=0, temperature=temperature)


def test_reconstructions_come_from_the_posterior_mean_of_test_images() -> None:
    made = make_trained()
    found = reconstruct(made, images=[3, 0], seed=0, notice=print)
    x = load_test_images(made.config.data, notice=print)[[3, 0]].view(2, 784).float() / 255
    with torch.no_grad():
        mean, _ = made.model.encode(x)
        expected = torch.sigmoid(made.model.decode(mean)).view(2, 28, 28)
    assert np.allclose(found.images, expected.numpy(), atol=1e-6)
    assert np.array_equal(found.inputs, x.view(2, 28, 28).numpy())
    assert np.allclose(found.z, mean.numpy(), atol=1e-6)
    assert found.label == "mean of p(x|z) at the mean of q(z|x)"


def test_reconstructions_may_draw_latents_and_pixels() -> None:
    made = make_trained()
    mean, drawn, black = (
        reconstruct(made, images=[0, 1], seed=0, notice=print, **changed)
        for changed in ({}, {"sample": True}, {"sample": True, "draw": True})
    )
    assert not np.allclose(mean.z, drawn.z)
    assert drawn.label.endswith("at a draw from q(z|x)")
    assert np.array_equal(black.z, drawn.z)
    assert set(np.unique(black.images)) <= {0.0, 1.0}


def test_a_model_of_black_and_white_pixels_sees_such() -> None:
    made = make_trained(data={"binarize": "dynamic"})
    found = reconstruct(made, images=[3, 0], seed=0, notice=print)
    assert set(np.unique(found.inputs)) == {0.0, 1.0}


def test_skip_connections_reach_reconstructions() -> None:
    """Two images far apart share nothing but z = 0, and yet skips tell them apart."""
    sizes = {"latent_dim": 2, "channels": [2, 3, 5, 7], "decoder_channels": [7, 5, 3]}
    made = make_trained(model={"arch": "conv", "skip": True, **sizes})
    with torch.no_grad():
        for weight in made.model.posterior.parameters():
            weight.zero_()
    found = reconstruct(made, images=[0, 1], seed=0, notice=print)
    assert np.allclose(found.z, 0)
    assert not np.allclose(found.images[0], found.images[1])


def test_latents_of_a_learned_prior_are_decoded_to_the_same_picture() -> None:
    made = dataclasses.replace(make_trained(), model=make_vae(flow=True))
    found = reconstruct(made, images=[0, 1, 2], seed=0, notice=print)
    again = decode_gallery(made.model, torch.from_numpy(found.z))
    assert np.allclose(again.images, found.images, atol=1e-4)
    assert found.label.endswith("at the encoder's mean")


@pytest.mark.parametrize("flow", [False, True])
def test_python_encodes_decodes_and_reconstructs(flow: bool, images: torch.Tensor) -> None:
    model = ImageModel(dataclasses.replace(make_trained(), model=make_vae(flow=flow)))
    z = model.encode(images[:5])
    assert z.shape == (5, 3)
    assert np.allclose(model.decode(z), model.reconstruct(images[:5] / 255), atol=1e-6)
    assert np.array_equal(model.generate(4, seed=2), model.generate(4, seed=2))


@pytest.mark.parametrize(
    "bad",
    [np.zeros((28, 28)), np.zeros((2, 27, 28)), np.full((1, 28, 28), 2.0), [[[float("nan")]]]],
)
def test_python_is_given_images(bad: object) -> None:
    with pytest.raises(ValueError, match="images have the shape"):
        ImageModel(make_trained()).encode(bad)


def test_inputs_lie_above_their_reconstructions() -> None:
    inputs = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 28, 28), np.float32)
    found = Reconstruction(inputs=inputs, images=-inputs, z=inputs[:, 0, :2], label="")
    rows, names = found.paired_rows(columns=3)
    assert names == ("input", "output", "input", "output")
    assert rows[..., 0, 0].tolist() == [[0, 1, 2], [0, -1, -2], [3, 4, 0], [-3, -4, 0]]
    assert found.paired_rows()[0].shape == (2, 5, 28, 28)
    assert found.paired_rows(columns=4)[0].shape == (4, 3, 28, 28)


PATHS: list[LatentPath] = ["spherical", "linear"]


@pytest.mark.parametrize("path", PATHS)
def test_paths_have_the_ends_that_were_asked_for(path: LatentPath) -> None:
    made = make_trained()
    between = interpolate_images(made, images=[1, 4], steps=5, path=path, notice=print)
    ends = reconstruct(made, images=[1, 4], seed=0, notice=print)
    assert (between.images.shape, between.columns) == ((5, 28, 28), 5)
    assert np.allclose(between.z[[0, -1]], ends.z, atol=1e-6)
    there = interpolate_seeds(made, seeds=[1, 2], steps=5, path=path)
    back = interpolate_seeds(made, seeds=[2, 1], steps=5, path=path)
    assert np.allclose(there.z, back.z[::-1], atol=1e-5)


def test_a_spherical_path_keeps_the_radius_and_turns_evenly() -> None:
    start, end = torch.tensor([2.0, 0, 0]), torch.tensor([0, 2.0, 0])
    z = interpolate(make_trained(), start, end=end, steps=4).z
    angles = np.arctan2(z[:, 1], z[:, 0])
    assert np.allclose(np.linalg.norm(z, axis=1), 2, atol=1e-6)
    assert np.allclose(np.diff(angles), math.pi / 6, atol=1e-5)
    straight = interpolate(make_trained(), start, end=end, steps=3, path="linear").z
    assert np.allclose(straight[1], [1, 1, 0])


@pytest.mark.parametrize("end", [[2.0, 0, 0], [-1.0, 0, 0], [0.0, 0, 0]])
def test_where_there_is_no_arc_the_path_is_straight(end: list[float]) -> None:
    z = interpolate(make_trained(), torch.tensor([1.0, 0, 0]), end=torch.tensor(end), steps=3).z
    assert np.allclose(z[1], [(1 + end[0]) / 2, 0, 0], atol=1e-6)


def test_a_path_of_one_picture_is_refused() -> None:
    with pytest.raises(UsageFault, match="two ends"):
        interpolate_seeds(make_trained(), seeds=[1, 2], steps=1)


def test_a_traversal_moves_one_latent_at_a_time_around_an_image() -> None:
    made = make_trained()
    found = traverse(made, dims=[2, 0, 1], steps=5, span=2.0, image=4, notice=print)
    assert (found.columns, found.rows) == (5, ("z[2]", "z[0]", "z[1]"))
    assert found.label.endswith("from -2 to 2, around the posterior mean of test image 4")
    base = reconstruct(made, images=[4], seed=0, notice=print).z[0]
    z = found.z.reshape(3, 5, 3)
    assert np.array_equal(z[0, :, 2], [-2, -1, 0, 1, 2])
    assert np.array_equal(z[1, :, 0], [-2, -1, 0, 1, 2])
    assert np.allclose(z[0, :, :2], base[:2], atol=1e-6)
    assert np.allclose(z[1, :, 1:], base[1:], atol=1e-6)
    with pytest.raises(UsageFault, match="no latent dimension 3"):
        traverse(made, dims=[0, 3], notice=print)


def test_two_named_latents_make_a_plane_around_the_start() -> None:
    made = make_trained()
    found = traverse(made, dims=[2, 0], steps=3, span=2.0, notice=print)
    assert "z[2] to the right and z[0] upwards from -2 to 2" in found.label
    assert (found.columns, found.rows) == (3, ())
    z = found.z.reshape(3, 3, 3)
    assert z[:, :, 2].tolist() == [[-2, 0, 2]] * 3
    assert z[:, :, 0].tolist() == [[2] * 3, [0] * 3, [-2] * 3]
    base = reconstruct(made, images=[0], seed=0, notice=print).z[0]
    assert np.allclose(z[..., 1], base[1], atol=1e-6)


@pytest.mark.parametrize("name", ["mnist", "./gone"])
def test_a_traversal_without_data_starts_from_a_draw_from_the_prior(name: str) -> None:
    made, notices = make_trained(data={"name": name, "offline": True}), list[str]()
    found = traverse(made, dims=[0], steps=2, notice=notices.append)
    assert "around the prior draw of seed 0" in found.label
    assert notices[-1].endswith("Starting from a draw from the prior instead.")
    same = traverse(made, dims=[0], steps=2, seed=0, notice=print)
    assert np.array_equal(found.z, same.z)
    with pytest.raises((ConfigError, DataError)):
        traverse(made, image=0, notice=print)


def test_a_traversal_starts_with_the_latents_that_carry_most(tmp_path: Path) -> None:
    made = make_trained(tmp_path)
    made.run.metrics_file.write_text(
        '{"epoch": 1, "kl_per_dim": [0.5, 2, 1]}\n{"epoch": 2, "kl_per_dim": [1, 0.5, 2]}\n'
    )
    assert traverse(made, notice=print).rows == ("z[2]", "z[0]", "z[1]"), "an unfinished run"
    early = dataclasses.replace(made, checkpoint="epoch-0001")
    assert traverse(early, notice=print).rows == ("z[1]", "z[2]", "z[0]")
    made.run.update_record(result={"kl_per_dim": [0.5, 0.0, 2.0]})
    assert traverse(made, notice=print).rows == ("z[2]", "z[0]", "z[1]")


def test_with_a_learned_prior_a_traversal_starts_with_what_moves_the_picture_most() -> None:
    model = make_vae(flow=True)
    assert model.flow is not None
    with torch.no_grad():
        for parameter in model.flow.parameters():  # the identity
            parameter.zero_()
        first = next(model.decoder.parameters())  # (hidden, D)
        first.copy_(torch.ones_like(first) * torch.tensor([0.1, 0.5, 2.0]))
    made = dataclasses.replace(make_trained(), model=model)
    assert traverse(made, steps=3, notice=print).rows == ("z[2]", "z[1]", "z[0]")


def test_two_latents_make_a_plane_with_equal_shares_of_the_prior() -> None:
    made = make_trained(model={"latent_dim": 2})
    shares = torch.special.ndtr(torch.from_numpy(traverse(made, steps=5, notice=print).z))
    shares = shares.view(5, 5, 2)
    assert torch.allclose(shares[2, :, 0], torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]), atol=1e-6)
    assert torch.allclose(shares[:, 3, 1], torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1]), atol=1e-6)
    assert traverse(made, dims=[0], steps=4, notice=print).rows == ("z[0]",)
