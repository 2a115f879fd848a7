"""Averages of weights over the prior, a proposal, and evenly spread points."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.evidence.diagnostics import assess
from dlcli.evidence.estimators import (
    DefensiveMixture,
    DiagonalGaussian,
    curvature,
    importance_weights,
    laplace_proposal,
    prior_weights,
    quasi_weights,
    replicate_spread,
    rising,
)
from dlcli.evidence.models import draw_pairs, random_decoder
from tests.evidence.calibration import linear_case, log_rho_of, misfit


def test_prior_agrees_with_the_truth_at_every_checkpoint():
    model, _, _ = linear_case(0, dim=2, pixels=9, noise=1.0)
    _, x = draw_pairs(model, 3, generator=generator(1))
    counts = [1000, 20_000, 100_000]
    for count, found in zip(
        counts, prior_weights(model, x, samples=counts, generator=generator(2)), strict=True
    ):
        assert found.samples == count
        for image in range(3):
            estimate = assess(found.column(image), name="prior")
            error = abs(estimate.log_p - float(model.log_evidence(x)[image]))
            assert error < 4 * estimate.std_error


def test_importance_agrees_with_the_truth_and_its_efficiency_with_theory():
    model, x, _ = linear_case(1, dim=3, pixels=20)
    q = misfit(model, x, stream=generator(4))
    (found,) = importance_weights(model, x, proposal=q, samples=[50_000], generator=generator(5))
    estimate = assess(found, name="importance")
    assert abs(estimate.log_p - float(model.log_evidence(x))) < 4 * estimate.std_error
    expected = 50_000 / float(torch.tensor(log_rho_of(model, x, q)).exp())
    assert abs(estimate.ess / expected - 1) < 0.1


@pytest.mark.parametrize("samples", [[], [0], [10, -1]])
def test_no_samples_are_refused(samples: list[int]):
    with pytest.raises(UsageFault, match="at least 1"):
        rising(samples)


def test_one_mode_is_kept_once():
    model, _, _ = linear_case(0, dim=3, pixels=17)
    _, x = draw_pairs(model, 2, generator=generator(1))
    q = laplace_proposal(model, x, generator=generator(2))
    mean, covariance = model.posterior(x)
    torch.testing.assert_close(q.means, mean[None], atol=1e-6, rtol=0)
    found = q.factors[0] @ q.factors[0].mT
    torch.testing.assert_close(found, covariance.expand(2, 3, 3), rtol=1e-5, atol=0)


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

    def log_masses(self) -> torch.Tensor:
        """Return the share of the evidence that each bump holds: Gaussian integrals."""
        variance = self.widths.square()
        logs = self.heights + 0.5 * (variance / (1 + variance)).log()
        return logs - 0.5 * self.places.square() / (1 + variance)


@pytest.mark.parametrize("heights", [(2.0, 0.0), (4.0, 0.0)])
def test_modes_are_weighed_by_their_mass_not_their_height(heights: tuple):
    """A low wide bump can hold more than a high narrow one."""
    model = TwoBumps(places=(-3.0, 3.0), heights=heights, widths=(0.3, 0.9))
    x = torch.zeros(1, 1, dtype=torch.float64)
    q = laplace_proposal(model, x, generator=generator(0))
    assert q.means.shape == (2, 1, 1)
    left = int(q.means[:, 0, 0].argmin())
    found = q.log_shares[[left, 1 - left], 0].exp()
    torch.testing.assert_close(found, model.log_masses().softmax(0), atol=0.02, rtol=0)
    (weights,) = importance_weights(model, x, proposal=q, samples=[4000], generator=generator(1))
    assert float(weights.ess) > 2000
    estimate = assess(weights, name="importance")
    assert estimate.verdict == "trust"
    assert abs(estimate.log_p - float(model.log_masses().logsumexp(0))) < 4 * estimate.std_error


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


def mixture(images: int) -> DefensiveMixture:
    stream = generator(0, images)
    means = torch.randn(2, images, 2, generator=stream, dtype=torch.float64)
    lower = torch.tril(torch.randn(2, images, 2, 2, generator=stream, dtype=torch.float64))
    factors = lower / 3 + 0.5 * torch.eye(2)
    factors.diagonal(dim1=-2, dim2=-1).abs_().clamp_min_(0.2)
    shares = torch.tensor([[0.7], [0.3]], dtype=torch.float64).log().expand(2, images)
    return DefensiveMixture(means, factors, shares)


def grid() -> tuple[torch.Tensor, float]:
    side = torch.linspace(-9, 9, 600, dtype=torch.float64)
    return torch.cartesian_prod(side, side)[:, None], float(side[1] - side[0]) ** 2


def test_densities_integrate_to_one():
    points, area = grid()
    for images in (1, 3):
        density = mixture(images).log_density(points.expand(-1, images, -1)).exp()
        torch.testing.assert_close(
            density.sum(0) * area, torch.ones(images, dtype=torch.float64), atol=1e-6, rtol=0
        )


def test_draws_follow_the_density():
    """E_q[1{z_1 > 0.3}] and E_q‖z‖², which the wide copies decide, drawn and integrated."""
    points, area = grid()
    for images in (1, 3):
        q = mixture(images)
        density = q.log_density(points.expand(-1, images, -1)).exp()
        z = q.draw(60_000, generator=generator(1))
        assert z.shape == (60_000, images, 2)
        for value in (lambda z: (z[..., 0] > 0.3).double(), lambda z: z.square().sum(-1)):
            expected = (density * value(points)).sum(0) * area
            drawn = value(z)
            assert bool(((drawn.mean(0) - expected).abs() < 4 * drawn.std(0) / 60_000**0.5).all())


def test_the_prior_keeps_the_weights_bounded():
    z = 8 * torch.randn(1000, 1, 2, generator=generator(2), dtype=torch.float64)
    prior = torch.distributions.Normal(torch.zeros(2, dtype=torch.float64), 1.0)
    assert bool((mixture(1).log_density(z) >= prior.log_prob(z).sum(-1) - 2.3026).all())


def test_an_encoders_gaussian_matches_torch():
    mean, logvar = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([[0.1, -2.0, 1.0]])
    q = DiagonalGaussian(mean, logvar)
    z = q.draw(20_000, generator=generator(3))
    normal = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    torch.testing.assert_close(q.log_density(z), normal.log_prob(z).sum(-1))
    assert bool(((z.mean(0) - mean).abs() < 4 * normal.stddev / 20_000**0.5).all())


def rms(seeds: int, dim: int, *, quasi: bool) -> float:
    total = 0.0
    for seed in range(seeds):
        model, x, _ = linear_case(seed, dim=dim, pixels=20, noise=1.0)
        weigh = quasi_weights if quasi else prior_weights
        *_, found = weigh(model, x, samples=[32_768], generator=generator(seed))
        total += (float(found.log_mean) - float(model.log_evidence(x))) ** 2
    return math.sqrt(total / seeds)


def test_helps_in_two_dimensions():
    """About 20 times smaller errors at N = 32,768 (RMS over 8 models: 0.001 against 0.019)."""
    assert rms(8, 2, quasi=True) < 0.15 * rms(8, 2, quasi=False)


def test_errors_are_within_the_replicates_spread():
    for seed in range(6):
        model, x, _ = linear_case(seed, dim=2, pixels=20, noise=1.0)
        stream = generator(seed)
        for found in quasi_weights(model, x, samples=[1000, 8192], generator=stream):
            estimate = assess(found, name="control")
            assert abs(estimate.log_p - float(model.log_evidence(x))) < 5 * estimate.std_error


def test_counts_are_multiples_of_the_replicates():
    model, x, _ = linear_case(0, dim=2)
    found = list(quasi_weights(model, x, samples=[10, 40, 1000], generator=generator(0)))
    assert [summary.samples for summary in found] == [32, 992]


def test_several_images_are_refused():
    model, x, _ = linear_case(0, dim=2)
    with pytest.raises(UsageFault, match="one image"):
        list(quasi_weights(model, x.expand(2, -1), samples=[100], generator=generator(0)))


def test_the_replicates_leave_fifteen_degrees_of_freedom():
    spread = replicate_spread(torch.linspace(-3, -2.9, 16, dtype=torch.float64))
    assert spread.degrees == 15
    means = torch.linspace(-3, -2.9, 16, dtype=torch.float64).exp()
    expected = float(means.std() / means.mean()) / 4
    assert abs(spread.relative_error - expected) < 1e-12
