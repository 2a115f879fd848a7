"""The closed form where one law is far narrower than the other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dlcli.evidence.config import KlConfig
from dlcli.evidence.gaussians import check_gradient, gaussian_kl, run_kl


def scalar(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.4, 0.5, 0.6, 1.4, 1.5, 1.6, 1e-6, 1e-12, 1e-17, 1e-100])
def test_a_narrow_law_keeps_its_digits(sigma: float):
    found = gaussian_kl(scalar(0.0), scalar(sigma), mu_p=scalar(0.0), sigma_p=scalar(1.0))
    exact = 0.5 * (sigma**2 - 1) - math.log(sigma)
    assert float(found) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("sigma", [0.5, 1.5, 1e-12, 1e-17, 1e-100])
def test_the_gradient_of_a_narrow_law_is_finite_and_right(sigma: float):
    found = check_gradient(scalar(0.3), scalar(sigma), mu_p=scalar(0.0), sigma_p=scalar(1.0))
    assert math.isfinite(found.largest_gradient)
    assert found.holds


def test_sampling_agrees_with_the_closed_form_of_a_narrow_law():
    found = run_kl(KlConfig(sigma_q=(1e-20,), samples=10_000)).monte_carlo
    exact = 20 * math.log(10) - 0.5
    assert abs(found.value - exact) < 4 * found.std_error
