from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dlcli.engine.seed import generator
from dlcli.errors import RunFailed
from dlcli.evidence.models import (
    BernoulliDecoder,
    draw_pairs,
    log_likelihood,
    log_likelihood_and_gradient,
    log_prior,
    random_linear_gaussian,
)


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


def test_known_gradient_equals_autograd():
    model = random_linear_gaussian(3, pixels=7, noise_variance=0.3, generator=generator(1))
    _, x = draw_pairs(model, 2, generator=generator(2))
    z = torch.randn(5, 2, 3, generator=generator(3), dtype=torch.float64, requires_grad=True)
    value = model.log_likelihood(x, z)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    known = log_likelihood_and_gradient(model, x, z.detach())
    torch.testing.assert_close(known, (value.detach(), gradient))


def test_ancestral_pairs_have_the_moments_of_the_factorisation():
    model = random_linear_gaussian(2, pixels=3, noise_variance=0.5, generator=generator(4))
    z, x = draw_pairs(model, 20_000, generator=generator(5))
    expected = model.weight @ model.weight.T + 0.5 * torch.eye(3)
    error = (x.T @ x / 20_000 - expected).abs().max()
    assert error < 4 * expected.max() * math.sqrt(2 / 20_000)
    cross = (x.T @ z / 20_000 - model.weight).abs().max()
    assert cross < 0.06
