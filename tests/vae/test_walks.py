"""Walks start and end where they should, and vary only what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.vae.generation import LatentPath as Path
from dlcli.vae.generation import interpolate, plane, prior_latents, traverse
from tests.vae.conftest import MakeVae

PATHS: list[Path] = ["spherical", "linear"]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_has_its_ends(make_vae: MakeVae, path: Path) -> None:
    vae = make_vae()
    start, end = (prior_latents(vae, count=2, generator=generator(s)) for s in (0, 1))
    found = interpolate(vae, start, end=end, steps=5, path=path)
    assert found.images.shape == (10, 28, 28)
    assert found.columns == 5
    z = found.z.reshape(2, 5, 3)
    assert np.allclose(z[:, 0], start.numpy(), atol=1e-6)
    assert np.allclose(z[:, -1], end.numpy(), atol=1e-6)


def test_a_spherical_path_keeps_the_radius_and_turns_evenly(make_vae: MakeVae) -> None:
    vae = make_vae()
    start, end = torch.tensor([2.0, 0, 0]), torch.tensor([0, 2.0, 0])
    z = interpolate(vae, start, end=end, steps=4).z
    angles = np.arctan2(z[:, 1], z[:, 0])
    assert np.allclose(np.linalg.norm(z, axis=1), 2, atol=1e-6)
    assert np.allclose(np.diff(angles), math.pi / 6, atol=1e-5)
    straight = interpolate(vae, start, end=end, steps=3, path="linear").z
    assert np.allclose(straight[1], [1, 1, 0])


@pytest.mark.parametrize("end", [[2.0, 0, 0], [-1.0, 0, 0], [0.0, 0, 0]])
def test_where_there_is_no_arc_the_path_is_straight(make_vae: MakeVae, end: list[float]) -> None:
    z = interpolate(make_vae(), torch.tensor([1.0, 0, 0]), end=torch.tensor(end), steps=3).z
    assert np.allclose(z[1], [(1 + end[0]) / 2, 0, 0], atol=1e-6)


def test_a_traversal_moves_one_latent_at_a_time(make_vae: MakeVae) -> None:
    base = torch.tensor([0.5, -1.0, 2.0])
    found = traverse(make_vae(), base, dims=[2, 0], steps=5, span=2.0)
    assert (found.columns, found.rows) == (5, ("z[2]", "z[0]"))
    z = found.z.reshape(2, 5, 3)
    assert np.array_equal(z[0, :, 2], [-2, -1, 0, 1, 2])
    assert np.array_equal(z[1, :, 0], [-2, -1, 0, 1, 2])
    assert (z[0, :, :2] == [0.5, -1.0]).all()
    assert (z[1, :, 1:] == [-1.0, 2.0]).all()
    assert traverse(make_vae(), base, steps=1).images.shape == (3, 28, 28)


def test_the_plane_gives_every_picture_the_same_share_of_the_prior(make_vae: MakeVae) -> None:
    found = plane(make_vae(latent_dim=2), size=5)
    z = torch.from_numpy(found.z).view(5, 5, 2)
    shares = torch.special.ndtr(z)
    assert torch.allclose(shares[2, :, 0], torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]), atol=1e-6)
    assert torch.allclose(shares[:, 3, 1], torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1]), atol=1e-6)


def test_impossible_walks_are_refused(make_vae: MakeVae) -> None:
    vae = make_vae()
    zero = torch.zeros(3)
    with pytest.raises(UsageFault, match="two ends"):
        interpolate(vae, zero, end=zero, steps=1)
    with pytest.raises(UsageFault, match="no latent dimension 3"):
        traverse(vae, zero, dims=[0, 3])
    with pytest.raises(UsageFault, match="3 latent dimensions"):
        plane(vae)
