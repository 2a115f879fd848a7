"""KL between Gaussians: closed form, samples, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcli.engine.seed import generator
from dlcli.evidence.config import KlConfig
from dlcli.evidence.gaussians import (
    check_gradient,
    gaussian_kl,
    monte_carlo_kl,
    run_kl,
)

means = st.floats(-50, 50)
deviations = st.floats(1e-3, 1e3)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(mu_q=means, sigma_q=deviations, mu_p=means, sigma_p=deviations)
@settings(max_examples=100, deadline=None)
def test_matches_torch_distributions_and_is_never_negative(mu_q, sigma_q, mu_p, sigma_p):
    ours = gaussian_kl(vector(mu_q), vector(sigma_q), mu_p=vector(mu_p), sigma_p=vector(sigma_p))
    q, p = (
        torch.distributions.Normal(vector(mu_q), sigma_q),
        torch.distributions.Normal(vector(mu_p), sigma_p),
    )
    theirs = torch.distributions.kl_divergence(q, p).sum()
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert float(ours) >= -1e-15


def test_nearly_equal_laws_keep_their_digits():
    tiny = gaussian_kl(vector(0.0), vector(1 + 1e-8), mu_p=vector(0.0), sigma_p=vector(1.0))
    assert abs(float(tiny) / 1e-16 - 1) < 1e-6


def test_monte_carlo_agrees_within_its_error():
    q, p = (vector(0.3, -1.0), vector(0.5, 2.0)), (vector(1.0, 0.0), vector(1.5, 1.0))
    exact = float(gaussian_kl(*q, mu_p=p[0], sigma_p=p[1]))
    offs = []
    for seed in range(40):
        found = monte_carlo_kl(*q, mu_p=p[0], sigma_p=p[1], samples=2000, generator=generator(seed))
        offs.append((found.value - exact) / found.std_error)
    assert max(abs(off) for off in offs) < 4
    assert 0.7 < torch.tensor(offs).std() < 1.4


def test_gradient_by_hand_is_autograds():
    found = check_gradient(
        vector(0.3, -7.0), vector(0.01, 2.0), mu_p=vector(1.0, 0.0), sigma_p=vector(1.5, 90.0)
    )
    assert found.holds
    assert found.largest_gradient > 50


def test_directions_differ_and_lists_may_be_shared():
    found = run_kl(KlConfig(mu_q=(0.0, 0.0, 0.0), sigma_q=(0.5,), mu_p=(1.0,), samples=500))
    one = math.log(2) + (0.25 + 1) / 2 - 0.5
    assert abs(found.closed_form - 3 * one) < 1e-12
    assert abs(found.reverse.closed_form - 3 * (-math.log(2) + 2 * 2 - 0.5)) < 1e-12
    assert found.monte_carlo.samples == 500
    assert found.gradient_check.holds
    assert "dims:3|mu-q:0,0,0|sigma-q:0.5|mu-p:1|sigma-p:1|" in found.signature


@pytest.mark.parametrize("sigma", [0.4, 0.5, 0.6, 1.4, 1.5, 1.6, 1e-6, 1e-12, 1e-17, 1e-100])
def test_a_narrow_law_keeps_its_digits(sigma: float):
    found = gaussian_kl(vector(0.0), vector(sigma), mu_p=vector(0.0), sigma_p=vector(1.0))
    exact = 0.5 * (sigma**2 - 1) - math.log(sigma)
    assert float(found) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("sigma", [0.5, 1.5, 1e-12, 1e-17, 1e-100])
def test_the_gradient_of_a_narrow_law_is_finite_and_right(sigma: float):
    found = check_gradient(vector(0.3), vector(sigma), mu_p=vector(0.0), sigma_p=vector(1.0))
    assert math.isfinite(found.largest_gradient)
    assert found.holds


def test_sampling_agrees_with_the_closed_form_of_a_narrow_law():
    found = run_kl(KlConfig(sigma_q=(1e-20,), samples=10_000)).monte_carlo
    exact = 20 * math.log(10) - 0.5
    assert abs(found.value - exact) < 4 * found.std_error
