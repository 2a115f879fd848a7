"""Samples and reconstructions: same seed, same bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.generation import (
    decode_gallery,
    generate,
    posterior_means,
    prior_latents,
    reconstruct,
)
from dlcli.vae.images import flat, grey
from dlcli.vae.networks import build_model
from tests.vae.conftest import MakeVae


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
