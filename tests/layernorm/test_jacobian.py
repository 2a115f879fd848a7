from __future__ import annotations

import pytest
import torch

from dlcli.layernorm.gradients import (
    block_diagonal,
    closed_form_lambda,
    full_jacobian,
    layernorm_jacobian,
    power_iteration,
    spectral_norm,
)
from dlcli.layernorm.stack import LayerNorm, Xavier


def norm(width, gamma=1.0):
    init = Xavier(law="gaussian", generator=torch.Generator(), dtype=torch.float64)
    return LayerNorm(width, init=init, gamma=gamma).requires_grad_(False)


def tokens(count, width, scale=1.0):
    stream = torch.Generator().manual_seed(2)
    return scale * torch.randn(count, width, generator=stream, dtype=torch.float64) + 0.3


@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("gamma", [1.0, 2.5])
def test_the_analytic_jacobian_equals_autograds(width, gamma):
    y, layer = tokens(4, width), norm(width, gamma)
    layer.gamma.mul_(torch.linspace(0.5, 1.5, width, dtype=torch.float64))
    whole = full_jacobian(layer, y[None])
    blocks = block_diagonal(layernorm_jacobian(y, gamma=layer.gamma))
    torch.testing.assert_close(whole, blocks, rtol=0, atol=1e-12)


def test_one_feature_has_no_derivative_and_two_almost_none():
    assert layernorm_jacobian(tokens(3, 1)).abs().max() == 0
    assert layernorm_jacobian(tokens(3, 2)).abs().max() < 1e-3


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_power_iteration_finds_one_over_sigma(scale):
    y = tokens(5, 9, scale)
    found = power_iteration(norm(9), y, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, closed_form_lambda(y), rtol=1e-10, atol=0)
    exact = torch.stack([torch.linalg.matrix_norm(j, 2) for j in layernorm_jacobian(y)])
    torch.testing.assert_close(closed_form_lambda(y), exact, rtol=1e-10, atol=0)


def test_lambda_exceeds_one_where_the_deviation_is_below_one():
    assert (closed_form_lambda(tokens(3, 50, 0.5)) > 1).all()
    assert (closed_form_lambda(tokens(3, 50, 2.0)) < 1).all()


def test_power_iteration_on_a_plain_matrix():
    stream = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 6, generator=stream, dtype=torch.float64)
    found = power_iteration(lambda x: x @ matrix.T, tokens(2, 6), generator=stream, iterations=5000)
    assert found.tolist() == pytest.approx([spectral_norm(matrix)] * 2, rel=1e-6)


def test_power_iteration_of_a_constant_is_zero():
    found = power_iteration(norm(1), tokens(2, 1), generator=torch.Generator())
    assert found.tolist() == [0.0, 0.0]


def test_full_jacobian_rows_are_outputs():
    matrix = torch.arange(9, dtype=torch.float64).view(3, 3)
    jacobian = full_jacobian(lambda x: x @ matrix.T, torch.zeros(1, 2, 3, dtype=torch.float64))
    torch.testing.assert_close(jacobian, torch.block_diag(matrix, matrix))
