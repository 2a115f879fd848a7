"""The models that the estimators are held against, and what any model must keep to."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dlcli.engine.seed import generator
from dlcli.errors import RunFailed
from dlcli.evidence.models import (
    BernoulliDecoder,
    LinearGaussian,
    draw_pairs,
    log_likelihood,
    log_likelihood_and_gradient,
    log_prior,
    random_decoder,
    random_linear_gaussian,
)


def decoder(**settings: object) -> BernoulliDecoder:
    return random_decoder(3, generator=generator(0), hidden=(5,), pixels=7, dtype=torch.float64)


def points(count: int = 11, images: int = 2) -> torch.Tensor:
    return torch.randn(count, images, 3, generator=generator(1), dtype=torch.float64)


def test_matches_torch_distributions():
    model, z = decoder(), points()
    x = (torch.rand(2, 7, generator=generator(2), dtype=torch.float64) < 0.5).double()
    expected = torch.distributions.Bernoulli(logits=model.decode(z)).log_prob(x).sum(-1)
    torch.testing.assert_close(model.log_likelihood(x, z), expected)
    shared = model.log_likelihood(x, z[:, :1])
    torch.testing.assert_close(shared, model.log_likelihood(x, z[:, :1].expand(-1, 2, -1)))


def test_blocks_change_nothing():
    model, z = decoder(), points()
    x = torch.rand(2, 7, generator=generator(2), dtype=torch.float64)
    small = BernoulliDecoder(model.decode, 3, dtype=torch.float64, block_rows=5)
    torch.testing.assert_close(small.log_likelihood(x, z), model.log_likelihood(x, z))


def test_gradient_is_autograds():
    model, z = decoder(), points()
    x = torch.rand(2, 7, generator=generator(2), dtype=torch.float64)
    value, gradient = log_likelihood_and_gradient(model, x, z)
    step = 1e-6
    for d in range(3):
        nudge = torch.zeros(3, dtype=torch.float64)
        nudge[d] = step
        slope = (model.log_likelihood(x, z + nudge) - model.log_likelihood(x, z - nudge)) / 2 / step
        torch.testing.assert_close(slope, gradient[..., d], atol=1e-6, rtol=1e-6)
    assert value.shape == (11, 2)


def test_draws_have_the_decoders_means():
    model = decoder()
    z = points(1, 1)[0].expand(20_000, 3)
    x = model.draw(z, generator=generator(3))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    p = torch.sigmoid(model.decode(z[:1]))[0]
    assert bool(((x.mean(0) - p).abs() < 4 * (p * (1 - p) / 20_000).sqrt()).all())


def test_ceiling_bounds_binary_and_grey_images():
    model, z = decoder(), 5 * points(500, 1)
    x = torch.rand(2, 7, generator=generator(2), dtype=torch.float64)
    x[1] = (x[1] < 0.5).double()
    ceiling = model.ceiling(x)
    assert ceiling[1] == 0
    assert bool((model.log_likelihood(x, z) <= ceiling).all())


def test_float64_twin_is_the_same_function():
    narrow = random_decoder(3, generator=generator(0), hidden=(5,), pixels=7)
    wide = decoder()
    z = points()[:, 0]
    torch.testing.assert_close(narrow.decode(z.float()).double(), wide.decode(z), atol=1e-5, rtol=0)


def test_the_ceiling_is_reached_by_the_image_itself():
    x = torch.rand(1, 7, generator=generator(7), dtype=torch.float64)
    perfect = BernoulliDecoder(lambda z: torch.logit(x).expand(len(z), 7), 3, dtype=torch.float64)
    torch.testing.assert_close(perfect.log_likelihood(x, points(1, 1))[0], perfect.ceiling(x))


def small(dim: int = 2, pixels: int = 5) -> tuple[LinearGaussian, torch.Tensor]:
    model = random_linear_gaussian(dim, pixels=pixels, noise_variance=0.7, generator=generator(0))
    _, x = draw_pairs(model, 3, generator=generator(1))
    return model, x


def marginal(model: LinearGaussian) -> torch.distributions.MultivariateNormal:
    M = model.weight.shape[0]
    eye = torch.eye(M, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(
        torch.zeros(M, dtype=torch.float64),
        model.weight @ model.weight.T + model.noise_variance * eye,
    )


def grid(reach: float = 7.0, count: int = 400) -> tuple[torch.Tensor, float]:
    side = torch.linspace(-reach, reach, count, dtype=torch.float64)
    points = torch.cartesian_prod(side, side)[:, None]
    return points, 2 * torch.log(side[1] - side[0]).item()


def test_evidence_is_the_marginal_normal_density():
    for dim, pixels in ((2, 5), (7, 3)):
        model, x = small(dim, pixels)
        torch.testing.assert_close(model.log_evidence(x), marginal(model).log_prob(x))


def test_likelihood_is_the_product_over_pixels():
    model, x = small()
    z = torch.randn(4, 3, 2, generator=generator(2), dtype=torch.float64)
    normal = torch.distributions.Normal(z @ model.weight.T, model.noise_variance**0.5)
    torch.testing.assert_close(model.log_likelihood(x, z), normal.log_prob(x).sum(-1))
    shared = model.log_likelihood(x, z[:, :1])
    torch.testing.assert_close(shared, model.log_likelihood(x, z[:, :1].expand(-1, 3, -1)))


def test_exact_quantities_agree_with_brute_force_integration():
    model, x = small()
    points, log_area = grid()
    value, prior = model.log_likelihood(x, points), log_prior(points)
    evidence = (value + prior).logsumexp(0) + log_area
    torch.testing.assert_close(evidence, model.log_evidence(x), atol=1e-8, rtol=0)
    second = (2 * value + prior).logsumexp(0) + log_area
    torch.testing.assert_close(second - 2 * evidence, model.log_rho(x), atol=1e-8, rtol=0)
    share = (value + prior + log_area - evidence).exp()
    kl = (share * (value - evidence)).sum(0)
    torch.testing.assert_close(kl, model.kl_posterior_prior(x), atol=1e-8, rtol=0)
    mean = torch.einsum("kb,kd->bd", share, points[:, 0])
    torch.testing.assert_close(mean, model.posterior(x)[0], atol=1e-8, rtol=0)


def test_ceiling_is_above_every_likelihood_and_reached():
    model, x = small()
    z = 3 * torch.randn(2000, 1, 2, generator=generator(3), dtype=torch.float64)
    ceiling = model.ceiling(x)
    assert bool((model.log_likelihood(x, z) <= ceiling + 1e-9).all())
    best = torch.linalg.lstsq(model.weight, x.T).solution.T
    torch.testing.assert_close(model.log_likelihood(x, best[None])[0], ceiling)


def test_statistics_follow_the_images_even_when_written_in_place():
    model, x = small()
    z = torch.zeros(1, 3, 2, dtype=torch.float64)
    before = model.log_likelihood(x, z).clone()
    x.mul_(2.0)
    after = model.log_likelihood(x, z)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, model.log_likelihood(x.clone(), z))


def test_precision_changes_little():
    model, x = small()
    z = torch.randn(4, 3, 2, generator=generator(4), dtype=torch.float64)
    narrow = model.to(torch.float32)
    assert narrow.dtype == torch.float32
    found = narrow.log_likelihood(x, z.float())
    torch.testing.assert_close(found.double(), model.log_likelihood(x, z), atol=1e-4, rtol=1e-5)


def test_reference_kl_of_the_assignments_question():
    """REFERENCES: 8.4 ± 1, 60 ± 3 and 354 ± 13 nats over random x at D = 2, 20, 200."""
    for dim, mean, sd in ((2, 8.4, 1.0), (20, 60, 3.2), (200, 354, 10)):
        model = random_linear_gaussian(dim, pixels=784, noise_variance=0.1, generator=generator(7))
        _, x = draw_pairs(model, 200, generator=generator(8))
        kl = model.kl_posterior_prior(x)
        assert abs(float(kl.mean()) - mean) < 0.02 * mean + 4 * sd / 200**0.5
        assert abs(float(kl.std()) / (dim / 2) ** 0.5 - 1) < 0.25


def test_gradient_and_value_are_those_of_autograd():
    model, x = small()
    z = torch.randn(6, x.shape[0], 2, generator=generator(3), dtype=torch.float64)
    value, gradient = log_likelihood_and_gradient(model, x, z)
    point = z.requires_grad_(True)
    expected = model.log_likelihood(x, point)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), point)[0])


def constant_decoder(value: float) -> BernoulliDecoder:
    def decode(z: Tensor) -> Tensor:
        return torch.full((z.shape[0], 5), value, dtype=z.dtype) + 0 * z.sum(1, keepdim=True)

    return BernoulliDecoder(decode, 3, name="broken", dtype=torch.float64)


def test_prior_matches_torch_distributions():
    z = torch.randn(4, 2, 3, generator=generator(0), dtype=torch.float64)
    normal = torch.distributions.Normal(torch.zeros(3, dtype=torch.float64), 1.0)
    torch.testing.assert_close(log_prior(z), normal.log_prob(z).sum(-1))


def test_nan_from_a_decoder_is_a_failure_that_names_it():
    x, z = torch.ones(2, 5, dtype=torch.float64), torch.zeros(7, 2, 3, dtype=torch.float64)
    with pytest.raises(RunFailed, match=r"'broken' returned NaN .* at 14 of 14"):
        log_likelihood(constant_decoder(math.nan), x, z)
    with pytest.raises(RunFailed, match="'broken'"):
        log_likelihood_and_gradient(constant_decoder(math.nan), x, z)


def test_impossible_points_are_allowed():
    x, z = torch.ones(1, 5, dtype=torch.float64), torch.zeros(2, 1, 3, dtype=torch.float64)
    assert log_likelihood(constant_decoder(-math.inf), x, z).tolist() == [[-math.inf]] * 2


def test_ancestral_pairs_have_the_moments_of_the_factorisation():
    model = random_linear_gaussian(2, pixels=3, noise_variance=0.5, generator=generator(4))
    z, x = draw_pairs(model, 20_000, generator=generator(5))
    expected = model.weight @ model.weight.T + 0.5 * torch.eye(3)
    error = (x.T @ x / 20_000 - expected).abs().max()
    assert error < 4 * expected.max() * math.sqrt(2 / 20_000)
    cross = (x.T @ z / 20_000 - model.weight).abs().max()
    assert cross < 0.06
