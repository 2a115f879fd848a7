from __future__ import annotations

import torch

from dlcli.engine.seed import generator
from dlcli.evidence.estimators import DefensiveMixture, DiagonalGaussian


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
    """E_q[1{z_1 > 0.3}] by drawing and by integrating."""
    points, area = grid()
    for images in (1, 3):
        q = mixture(images)
        density = q.log_density(points.expand(-1, images, -1)).exp()
        expected = (density * (points[..., 0] > 0.3)).sum(0) * area
        z = q.draw(20_000, generator=generator(1))
        assert z.shape == (20_000, images, 2)
        error = ((z[..., 0] > 0.3).double().mean(0) - expected).abs()
        assert bool((error < 4 * 0.5 / 20_000**0.5).all())


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


def test_draws_are_as_wide_as_the_density():
    """E_q‖z‖², which the share of the wide copies and of the prior decides."""
    points, area = grid()
    q = mixture(1)
    squares = points.square().sum(-1)
    density = q.log_density(points).exp()
    expected = float((density * squares).sum() * area)
    found = q.draw(60_000, generator=generator(4)).square().sum(-1)
    assert abs(float(found.mean()) - expected) < 4 * float(found.std()) / 60_000**0.5
