"""Ancestral sampling: the draws have the decoder's means, the densities its factors."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal

from dlcli.errors import RunFailed, UsageFault
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.networks import VAE
from dlcli.vae.sampling import MOST_PIXELS, ancestral_sample, draw_latents, untrained_model


@pytest.fixture(scope="module")
def model() -> VAE:
    """A random decoder whose pixels are far from one half."""
    made = untrained_model(VaeModelConfig(latent_dim=3, hidden=(7,)), seed=5)
    with torch.no_grad():
        for parameter in made.decoder.parameters():
            parameter.mul_(3)
    return made


def test_pixel_means_of_draws_agree_with_the_decoder(model: VAE) -> None:
    S = 2000
    made = ancestral_sample(model, draw_latents(model, count=5, seed=0), draws=S, seed=1)
    f = torch.sigmoid(model.decode(torch.from_numpy(made.z))).detach().view(5, 28, 28)
    assert torch.allclose(torch.from_numpy(made.means), f, atol=1e-6)
    found = torch.from_numpy(made.draws).mean(1)
    variance = f * (1 - f)
    normal = S * variance > 20  # elsewhere a mean of so few ones is not nearly normal
    assert normal.float().mean() > 0.5
    assert (found - f).abs()[~normal].max() < 0.02
    z_scores = ((found - f) / (variance / S).sqrt())[normal]
    # Of up to 3,920 pixels one in 16,000 is expected beyond 4 standard errors.
    assert (z_scores.abs() > 4).sum() <= 2
    assert z_scores.abs().max() < 6
    assert abs(float(z_scores.square().mean()) - 1) < 0.15


def test_latents_are_standard_normal(model: VAE) -> None:
    z = draw_latents(model, count=20_000, seed=2)
    standard_error = 1 / math.sqrt(len(z))
    assert z.mean(0).abs().max() < 4 * standard_error
    assert (z.var(0) - 1).abs().max() < 4 * math.sqrt(2) * standard_error
    assert torch.equal(draw_latents(model, count=3, seed=2), draw_latents(model, count=3, seed=2))


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_log_joint_is_what_the_factorisation_says(model: VAE, likelihood: str) -> None:
    made = ancestral_sample(
        model, draw_latents(model, count=3, seed=0), draws=2, seed=1, likelihood=likelihood
    )
    z = torch.from_numpy(made.z)
    logits = model.decode(z).double()[:, None]
    law = ContinuousBernoulli if likelihood == "continuous-bernoulli" else Bernoulli
    x = torch.from_numpy(made.draws).double().view(3, 2, 784)
    prior = Normal(0.0, 1.0).log_prob(z.double()).sum(-1)
    expected = prior[:, None] + law(logits=logits).log_prob(x).sum(-1)
    torch.testing.assert_close(torch.tensor(made.log_prior, dtype=torch.float64), prior)
    # torch's continuous Bernoulli is itself cut near one half, to 1e-5 a pixel
    found = torch.tensor(made.log_joint, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)


def test_a_seed_fixes_everything_and_the_global_state_is_untouched(model: VAE) -> None:
    before = torch.get_rng_state()
    again = untrained_model(VaeModelConfig(latent_dim=3, hidden=(7,)), seed=5)
    other = untrained_model(VaeModelConfig(latent_dim=3, hidden=(7,)), seed=6)
    z = draw_latents(again, count=2, seed=0)
    first, second = (ancestral_sample(again, z, draws=2, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert (first.draws == second.draws).all()
    assert not (again.decoder.layers[0].weight == other.decoder.layers[0].weight).any()


def test_refuses_what_cannot_be(model: VAE) -> None:
    z = draw_latents(model, count=2, seed=0)
    for latents, draws in ((z, 0), (z[:, :2], 1), (z, MOST_PIXELS)):
        with pytest.raises(UsageFault):
            ancestral_sample(model, latents, draws=draws, seed=0)


def test_a_decoder_that_returns_nan_is_no_sample() -> None:
    model = untrained_model(VaeModelConfig(latent_dim=3, hidden=(7,)), seed=0)
    with pytest.raises(RunFailed, match="decoder returned NaN"):
        ancestral_sample(model, torch.full((2, 3), torch.nan), draws=1, seed=0)
