from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.models import (
    BernoulliDecoder,
    log_continuous_constant,
    log_likelihood_and_gradient,
    random_decoder,
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


@pytest.mark.parametrize("logit", [-30.0, -2.0, -0.011, -0.009, 0.0, 0.009, 0.3, 8.0])
def test_continuous_bernoulli_integrates_to_one(logit: float):
    model = BernoulliDecoder(
        lambda z: torch.full((z.shape[0], 1), logit, dtype=torch.float64),
        1,
        dtype=torch.float64,
        likelihood="continuous-bernoulli",
    )
    x = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:, None]
    density = model.log_likelihood(x, torch.zeros(1, 1, 1, dtype=torch.float64))[0].exp()
    assert abs(float(torch.trapezoid(density, x[:, 0])) - 1) < 1e-5
    assert model.ceiling(x[:2]).tolist() == [math.inf] * 2


@pytest.mark.parametrize("logit", [-25.0, -1.3, 0.0, 2.0])
def test_continuous_bernoulli_draws_follow_its_density(logit: float):
    model = BernoulliDecoder(
        lambda z: torch.full((z.shape[0], 1), logit, dtype=torch.float64),
        1,
        dtype=torch.float64,
        likelihood="continuous-bernoulli",
    )
    x = model.draw(torch.zeros(20_000, 1, dtype=torch.float64), generator=generator(4))[:, 0]
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    expected = 1 / -math.expm1(-logit) - 1 / logit if logit else 0.5
    assert abs(float(x.mean() - expected)) < 4 * float(x.std()) / 20_000**0.5


def test_constant_matches_torch():
    logits = torch.linspace(-9, 9, 61, dtype=torch.float64)
    law = torch.distributions.ContinuousBernoulli(logits=logits, lims=(0.4999, 0.5001))
    x = torch.full_like(logits, 0.3)
    ours = x * logits - torch.nn.functional.softplus(logits) + log_continuous_constant(logits)
    torch.testing.assert_close(ours, law.log_prob(x), atol=1e-6, rtol=0)


def test_float64_twin_is_the_same_function():
    narrow = random_decoder(3, generator=generator(0), hidden=(5,), pixels=7)
    wide = decoder()
    z = points()[:, 0]
    torch.testing.assert_close(narrow.decode(z.float()).double(), wide.decode(z), atol=1e-5, rtol=0)


def test_scale_sets_the_spread_of_logits():
    model = random_decoder(20, generator=generator(5), logit_scale=2.0)
    logits = model.decode(torch.randn(500, 20, generator=generator(6)))
    assert logits.shape == (500, 784)
    assert 1.7 < float(logits.std()) < 2.4


@pytest.mark.parametrize("logit", [-0.0099, 0.004, 0.02, 3.0])
def test_the_continuous_constant_is_smooth_across_its_series(logit: float):
    fine = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    mass = torch.trapezoid((logit * fine - math.log1p(math.exp(logit))).exp(), fine)
    found = log_continuous_constant(torch.tensor(logit, dtype=torch.float64))
    assert abs(float(found) + float(mass.log())) < 1e-8


def test_the_ceiling_is_reached_by_the_image_itself():
    x = torch.rand(1, 7, generator=generator(7), dtype=torch.float64)
    perfect = BernoulliDecoder(lambda z: torch.logit(x).expand(len(z), 7), 3, dtype=torch.float64)
    torch.testing.assert_close(perfect.log_likelihood(x, points(1, 1))[0], perfect.ceiling(x))
