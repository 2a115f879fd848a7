"""Snapshots use the same latents at every epoch of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dlcli.vae.pictures import snapshot_epoch, snapshot_latents, take_snapshot
from tests.vae.conftest import MakeVae


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
