"""Pictures say what their pixels are, and draws average to the means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.vae import objective as continuous_bernoulli
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.generation import LatentPath as Path
from dlcli.vae.generation import (
    Reconstruction,
    decode_gallery,
    generate,
    interpolate,
    label_of,
    paired_rows,
    pixel_values,
    plane,
    posterior_means,
    prior_latents,
    reconstruct,
    traverse,
)
from dlcli.vae.images import flat, grey
from dlcli.vae.networks import build_model
from tests.vae.conftest import MakeVae


def test_pixels_are_the_decoders_means_and_lie_in_order(make_vae: MakeVae) -> None:
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


def test_chunks_leave_no_seam(make_vae: MakeVae) -> None:
    vae, z = make_vae(), torch.randn(1003, 3, generator=generator(0))
    whole = decode_gallery(vae, z).images
    assert np.allclose(whole[498:503], decode_gallery(vae, z[498:503]).images, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_draws_average_to_the_means(likelihood: str) -> None:
    logits = torch.linspace(-4, 4, 9).expand(20_000, 9)
    drawn = pixel_values(logits, draw=True, generator=generator(0), likelihood=likelihood)
    means = pixel_values(logits[0], draw=False, likelihood=likelihood)
    error = (drawn.mean(0) - means) / (drawn.std(0) / 20_000**0.5)
    assert error.abs().max() < 4
    assert (set(drawn.unique().tolist()) == {0.0, 1.0}) == (likelihood == "bernoulli")


def test_the_mean_of_a_continuous_bernoulli_is_not_its_parameter() -> None:
    logits = torch.tensor([2.0])
    found = pixel_values(logits, draw=False, likelihood="continuous-bernoulli")
    assert torch.equal(found, continuous_bernoulli.mean(logits))
    assert found.item() < torch.sigmoid(logits).item()


def test_labels_tell_means_from_draws() -> None:
    assert label_of(draw=False) == "mean of p(x|z)"
    assert label_of(draw=True) == "Bernoulli draw from p(x|z)"
    named = label_of(draw=True, likelihood="continuous-bernoulli")
    assert named == "continuous Bernoulli draw from p(x|z)"
    with pytest.raises(ValueError, match="generator"):
        pixel_values(torch.zeros(1), draw=True)


def test_inputs_lie_above_their_reconstructions() -> None:
    inputs = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 28, 28), np.float32)
    found = Reconstruction(inputs=inputs, images=-inputs, z=inputs[:, 0, :2], label="")
    rows, names = paired_rows(found, columns=3)
    assert names == ("input", "output", "input", "output")
    assert rows[..., 0, 0].tolist() == [[0, 1, 2], [0, -1, -2], [3, 4, 0], [-3, -4, 0]]
    assert paired_rows(found)[0].shape == (2, 5, 28, 28)
    assert paired_rows(found, columns=4)[0].shape == (4, 3, 28, 28)


# -- Samples and reconstructions: same seed, same bytes


@pytest.mark.parametrize("draw", [False, True])
def test_the_same_seed_gives_the_same_bytes(make_vae: MakeVae, draw: bool) -> None:
    made = [
        generate(make_vae(), count=5, generator=generator(seed), draw=draw).images.tobytes()
        for seed in (1, 1, 2)
    ]
    assert made[0] == made[1] != made[2]


def test_draws_have_the_latents_of_the_means(make_vae: MakeVae) -> None:
    means, draws = (
        generate(make_vae(), count=5, generator=generator(1), draw=draw) for draw in (False, True)
    )
    assert np.array_equal(means.z, draws.z)
    assert set(np.unique(draws.images)) <= {0.0, 1.0}


def test_temperature_scales_the_latents(make_vae: MakeVae) -> None:
    warm, cold = (
        prior_latents(make_vae(), count=5, generator=generator(1), temperature=t)
        for t in (1.0, 0.25)
    )
    assert torch.equal(cold, 0.25 * warm)
    still = generate(make_vae(), count=3, generator=generator(1), temperature=0).images
    assert np.array_equal(still[0], still[2])


@pytest.mark.parametrize(
    ("count", "temperature"), [(0, 1.0), (3, -1.0), (3, float("nan")), (3, float("inf"))]
)
def test_impossible_wishes_are_refused(make_vae: MakeVae, count: int, temperature: float) -> None:
    with pytest.raises(UsageFault):
        generate(make_vae(), count=count, generator=generator(0), temperature=temperature)


def test_reconstructions_come_from_the_posterior_mean(
    make_vae: MakeVae, images: torch.Tensor
) -> None:
    vae = make_vae()
    found = reconstruct(vae, images[:5], generator=generator(0))
    with torch.no_grad():
        mean, _ = vae.encode(grey(flat(images[:5])))
        expected = torch.sigmoid(vae.decode(mean)).view(5, 28, 28)
    assert np.allclose(found.images, expected.numpy(), atol=1e-6)
    assert np.array_equal(found.inputs, grey(images[:5]).numpy())
    assert np.allclose(found.z, mean.numpy(), atol=1e-6)
    assert torch.equal(posterior_means(vae, images[:5]), torch.from_numpy(found.z))
    assert found.label == "mean of p(x|z) at the mean of q(z|x)"


def test_reconstructions_may_draw_latents_and_pixels(
    make_vae: MakeVae, images: torch.Tensor
) -> None:
    vae = make_vae()
    mean = reconstruct(vae, images[:5], generator=generator(0))
    drawn = reconstruct(vae, images[:5], generator=generator(0), sample=True)
    assert not np.allclose(mean.z, drawn.z)
    assert drawn.label.endswith("at a draw from q(z|x)")
    black = reconstruct(vae, images[:5], generator=generator(0), sample=True, draw=True)
    assert np.array_equal(black.z, drawn.z)
    assert set(np.unique(black.images)) <= {0.0, 1.0}


def test_skip_connections_reach_reconstructions_but_not_samples(images: torch.Tensor) -> None:
    """Two images far apart share nothing but z = 0, and yet skips tell them apart."""
    torch.manual_seed(0)
    config = VaeModelConfig(
        arch="conv", skip=True, latent_dim=2, channels=(2, 3, 5, 7), decoder_channels=(7, 5, 3)
    )
    vae = build_model(config)
    with torch.no_grad():
        for weight in vae.posterior.parameters():
            weight.zero_()
    found = reconstruct(vae, images[:2], generator=generator(0))
    assert np.allclose(found.z, 0)
    assert not np.allclose(found.images[0], found.images[1])


def test_a_model_of_black_and_white_pixels_sees_such(
    make_vae: MakeVae, images: torch.Tensor
) -> None:
    vae = make_vae()
    found = reconstruct(vae, images[:5], generator=generator(0), binarize="dynamic")
    assert set(np.unique(found.inputs)) == {0.0, 1.0}
    z = posterior_means(vae, images[:5], binarize="dynamic", generator=generator(0))
    assert np.allclose(found.z, z.numpy(), atol=1e-6)


def test_latents_of_images_are_decoded_to_their_reconstructions(
    make_vae: MakeVae, images: torch.Tensor
) -> None:
    vae = make_vae(flow=True)
    found = reconstruct(vae, images[:5], generator=generator(0))
    z = posterior_means(vae, images[:5])
    assert torch.allclose(torch.from_numpy(found.z), z, atol=1e-5)
    again = decode_gallery(vae, z)
    assert np.allclose(again.images, found.images, atol=1e-4)


# -- Walks start and end where they should, and vary only what they say

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
