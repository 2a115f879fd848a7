"""The continuous Bernoulli integrates to one, and agrees with torch's own where that is stable."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.vae.objective import log_normalizer, mean, sample

LOGITS = torch.tensor(
    [-30.0, -5.0, -1.0, -0.11, -0.09, -1e-3, -1e-7, 0.0, 1e-5, 0.0999, 0.1001, 0.7, 3.0, 25.0],
    dtype=torch.float64,
)


def density(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Density at points (P,) for logits (L,): (P, L)."""
    bernoulli = -torch.nn.functional.softplus(logits) + x[:, None] * logits
    return (bernoulli + log_normalizer(logits)).exp()


def test_the_density_integrates_to_one() -> None:
    x = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    total = torch.trapezoid(density(x, LOGITS), x, dim=0)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6)


def test_the_mean_is_the_first_moment() -> None:
    x = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    moment = torch.trapezoid(x[:, None] * density(x, LOGITS), x, dim=0)
    assert torch.allclose(moment, mean(LOGITS), atol=1e-6)


def test_matches_torch_distributions() -> None:
    reference = torch.distributions.ContinuousBernoulli(logits=LOGITS)
    assert torch.allclose(mean(LOGITS), reference.mean, atol=1e-6)
    x = torch.full_like(LOGITS, 0.3)
    ours = density(x[:1], LOGITS)[0].log()
    assert torch.allclose(ours, reference.log_prob(x), atol=1e-5)


def test_float32_keeps_its_accuracy_around_one_half() -> None:
    logits = torch.linspace(-0.3, 0.3, 6001)
    truth = log_normalizer(logits.double())
    assert (log_normalizer(logits).double() - truth).abs().max() < 3e-7
    assert log_normalizer(torch.zeros(1)).item() == pytest.approx(math.log(2))


def test_gradients_are_finite_and_right_everywhere() -> None:
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(log_normalizer, logits)
    far = torch.tensor([-1e4, 0.0, 1e4], requires_grad=True)
    log_normalizer(far).sum().backward()
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()


def test_draws_follow_the_density() -> None:
    logits = LOGITS.float().expand(40_000, -1)
    drawn = sample(logits, generator=generator(0)).double()
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    error = (drawn.mean(0) - mean(LOGITS)) / (drawn.std(0) / 200)
    assert error.abs().max() < 4
    assert torch.isfinite(sample(torch.tensor([-1e4, 1e4]), generator=generator(1))).all()
