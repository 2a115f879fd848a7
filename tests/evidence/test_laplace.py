from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.diagnostics import assess
from dlcli.evidence.estimators import curvature, find_modes, importance_weights, laplace_proposal
from dlcli.evidence.models import draw_pairs, random_decoder
from tests.evidence.calibration import linear_case


def test_modes_and_curvature_of_a_gaussian_posterior_are_exact():
    model, _, _ = linear_case(0, dim=3, pixels=17)
    _, x = draw_pairs(model, 2, generator=generator(1))
    mean, covariance = model.posterior(x)
    modes = find_modes(model, x, generator=generator(2), starts=3)
    torch.testing.assert_close(modes, mean.expand(3, 2, 3), atol=1e-6, rtol=0)
    found = curvature(model, x, mean)
    torch.testing.assert_close(
        found, torch.linalg.inv(covariance).expand(2, 3, 3), rtol=1e-6, atol=0
    )


def test_one_mode_is_kept_once():
    model, x, _ = linear_case(0, dim=3, pixels=17)
    q = laplace_proposal(model, x, generator=generator(2))
    assert q.means.shape == (1, 1, 3)
    mean, covariance = model.posterior(x)
    torch.testing.assert_close(q.means[0], mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(q.factors[0] @ q.factors[0].mT, covariance[None], rtol=1e-5, atol=0)


class TwoModes:
    """One pixel that shows z²: the posterior has two equal modes."""

    name, latent_dim, dtype, device = "square", 1, torch.float64, torch.device("cpu")

    def log_likelihood(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        gap = (z.square() - x).sum(-1)
        return -0.5 * (gap / 0.1).square() - math.log(0.1) - 0.5 * math.log(2 * math.pi)

    def draw(self, z: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
        return z.square() + 0.1 * torch.randn(z.shape, generator=generator, dtype=torch.float64)

    def ceiling(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full(x.shape[:1], 2.0, dtype=torch.float64)


def test_both_modes_are_found_and_weighed():
    model, x = TwoModes(), torch.tensor([[2.0]], dtype=torch.float64)
    q = laplace_proposal(model, x, generator=generator(0))
    assert q.means.shape == (2, 1, 1)
    assert abs(float(q.means.sum())) < 1e-4
    torch.testing.assert_close(q.log_shares.exp(), torch.full((2, 1, 1)[:2], 0.5).double())
    (found,) = importance_weights(model, x, proposal=q, samples=[5000], generator=generator(1))
    estimate = assess(found, name="importance")
    z = torch.linspace(-6, 6, 40_001, dtype=torch.float64)[:, None, None]
    joint = model.log_likelihood(x, z)[:, 0] - 0.5 * z[:, 0, 0] ** 2 - 0.5 * math.log(2 * math.pi)
    truth = float(joint.logsumexp(0)) + math.log(12 / 40_000)
    assert estimate.verdict == "trust"
    assert abs(estimate.log_p - truth) < 4 * estimate.std_error


class TwoBumps:
    """p(x | z) is a sum of two Gaussian bumps in z, of given places, heights and widths."""

    name, latent_dim, dtype, device = "bumps", 1, torch.float64, torch.device("cpu")

    def __init__(self, *, places: tuple, heights: tuple, widths: tuple) -> None:
        self.places, self.heights, self.widths = (
            torch.tensor(part, dtype=torch.float64) for part in (places, heights, widths)
        )

    def log_likelihood(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        squares = ((z - self.places) / self.widths).square()  # (K, B, 2)
        return (self.heights - 0.5 * squares).logsumexp(-1).expand(-1, x.shape[0])

    def masses(self) -> torch.Tensor:
        """Return the share of the posterior that each bump holds: Gaussian integrals."""
        variance = self.widths.square()
        logs = self.heights + 0.5 * (variance / (1 + variance)).log()
        return (logs - 0.5 * self.places.square() / (1 + variance)).softmax(0)


@pytest.mark.parametrize("heights", [(2.0, 0.0), (4.0, 0.0)])
def test_modes_are_weighed_by_their_mass_not_their_height(heights: tuple):
    """A low wide bump can hold more than a high narrow one."""
    model = TwoBumps(places=(-3.0, 3.0), heights=heights, widths=(0.3, 0.9))
    x = torch.zeros(1, 1, dtype=torch.float64)
    q = laplace_proposal(model, x, generator=generator(0))
    assert q.means.shape == (2, 1, 1)
    left = int(q.means[:, 0, 0].argmin())
    found = q.log_shares[[left, 1 - left], 0].exp()
    torch.testing.assert_close(found, model.masses(), atol=0.02, rtol=0)
    (weights,) = importance_weights(model, x, proposal=q, samples=[4000], generator=generator(1))
    assert float(weights.ess) > 2000


def test_curvature_of_a_relu_network_is_taken_at_the_posteriors_width():
    """At the kinks where its modes lie, infinitesimal differences give no usable Gaussian."""
    model = random_decoder(5, generator=generator(3), hidden=(60,), pixels=100)
    _, x = draw_pairs(model, 1, generator=generator(4))
    q = laplace_proposal(model, x, generator=generator(5))
    (found,) = importance_weights(model, x, proposal=q, samples=[4000], generator=generator(6))
    assert float(found.ess) > 800


class Kink:
    """log p(x | z) = −100 |z|, as at the fold of a ReLU."""

    name, latent_dim, dtype, device = "kink", 1, torch.float64, torch.device("cpu")

    def log_likelihood(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return -100 * z.abs().sum(-1).expand(-1, x.shape[0])


def test_a_kink_is_as_sharp_as_it_looks_from_one_standard_deviation():
    """λ = 1 + 100 √λ at ±1/√λ, so 10,200; differences over ±0.1 say 1,001."""
    x = torch.zeros(1, 1, dtype=torch.float64)
    found = float(curvature(Kink(), x, torch.zeros(1, 1, dtype=torch.float64)))
    assert 5000 < found < 10_500
