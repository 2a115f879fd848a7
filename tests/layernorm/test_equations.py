"""Equations 21' and 22', LayerNorm's Jacobian, and the lemmas, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dlcli.layernorm.equations import (
    check_equation,
    check_lemmas,
    closed_form_lambda,
    full_jacobian,
    layernorm_jacobian,
    power_iteration,
    spectral_norm,
)
from tests.layernorm.tiny import seeded, small


def check(placement, *, regime="theorem", **exact):
    sizes = {"depth": 3, "width": 8, "tokens": 3, **exact}
    return check_equation(placement, config=small(exact=sizes, stack={"regime": regime}))


@pytest.mark.parametrize("regime", ["theorem", "transformer"])
@pytest.mark.parametrize(("placement", "equation"), [("post", "21'"), ("pre", "22'")])
def test_the_equations_hold_to_1e_10(placement, equation, regime):
    found = check(placement, regime=regime)
    assert found.equation == equation
    assert found.holds
    assert found.largest_difference < 1e-10
    assert len(found.steps) == 6


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_the_full_bound_bounds_the_true_gradient_at_every_step(placement):
    for step in check(placement, depth=6).steps:
        assert step.gradient <= step.full_bound * (1 + 1e-12)
        assert step.lambda_measured == pytest.approx(step.lambda_closed, rel=1e-9)


def test_what_question_16_drops_is_above_one_and_its_bound_fails():
    """Π λ alone falls below the true gradient: σ_max(I + J_A) cannot be left out."""
    found = check("post", depth=12, width=32, tokens=4)
    assert all(step.dropped_factor > 1 for step in found.steps)
    assert found.steps[0].lambda_product < found.steps[0].gradient
    assert found.largest_lambda > 1


def test_the_exponents_are_the_assignments():
    found = check("post")
    last = found.steps[-1]
    assert last.seed_bound == pytest.approx(found.final_gradient)
    assert last.lambda_product == pytest.approx(found.final_gradient * last.lambda_measured)
    assert found.steps[-2].seed_bound == pytest.approx(found.final_gradient * found.largest_lambda)


def norm(width, gamma=1.0):
    layer = nn.LayerNorm(width, dtype=torch.float64).requires_grad_(False)
    layer.weight.fill_(gamma)
    return layer


def tokens(count, width, scale=1.0):
    return scale * torch.randn(count, width, generator=seeded(2), dtype=torch.float64) + 0.3


@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("gamma", [1.0, 2.5])
def test_the_analytic_jacobian_equals_autograds(width, gamma):
    y, layer = tokens(4, width), norm(width, gamma)
    layer.weight.mul_(torch.linspace(0.5, 1.5, width, dtype=torch.float64))
    whole = full_jacobian(layer, y[None])
    blocks = torch.block_diag(*layernorm_jacobian(y, gamma=layer.weight))
    torch.testing.assert_close(whole, blocks, rtol=0, atol=1e-12)


def test_one_feature_has_no_derivative_and_two_almost_none():
    assert layernorm_jacobian(tokens(3, 1)).abs().max() == 0
    assert layernorm_jacobian(tokens(3, 2)).abs().max() < 1e-3


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_power_iteration_finds_one_over_sigma(scale):
    y = tokens(5, 9, scale)
    found = power_iteration(norm(9), y, generator=seeded())
    torch.testing.assert_close(found, closed_form_lambda(y), rtol=1e-10, atol=0)
    exact = torch.stack([torch.linalg.matrix_norm(j, 2) for j in layernorm_jacobian(y)])
    torch.testing.assert_close(closed_form_lambda(y), exact, rtol=1e-10, atol=0)


def test_lambda_exceeds_one_where_the_deviation_is_below_one():
    assert (closed_form_lambda(tokens(3, 50, 0.5)) > 1).all()
    assert (closed_form_lambda(tokens(3, 50, 2.0)) < 1).all()


def test_power_iteration_on_a_plain_matrix():
    stream = seeded()
    matrix = torch.randn(6, 6, generator=stream, dtype=torch.float64)
    found = power_iteration(lambda x: x @ matrix.T, tokens(2, 6), generator=stream, iterations=5000)
    assert found.tolist() == pytest.approx([spectral_norm(matrix)] * 2, rel=1e-6)


def test_power_iteration_of_a_constant_is_zero():
    found = power_iteration(norm(1), tokens(2, 1), generator=seeded())
    assert found.tolist() == [0.0, 0.0]


@pytest.fixture(scope="module")
def lemmas():
    return check_lemmas(small(sweep={"widths": [64], "seeds": 8, "batch_size": 16, "tokens": 16}))


def test_lemma_2_holds(lemmas):
    assert lemmas.lemma2_holds
    assert len(lemmas.rows) == 4
    assert lemmas.rows[0].post is None
    assert lemmas.rows[0].pre == pytest.approx(1, abs=0.02)
    for row in lemmas.rows[1:]:
        assert row.post == pytest.approx(1.5, abs=0.2)
        assert row.pre_low * 0.95 <= row.pre <= row.pre_high


def test_lemma_3_is_almost_an_equality_for_centred_input(lemmas):
    low, high = lemmas.lemma3_ratio
    assert 0.999 < low <= high < 1.2


def test_a_norm_outside_the_lemma_fails(lemmas):
    row = lemmas.rows[2]
    assert row.holds(slack=0.1)
    assert not replace(row, post=2.0).holds(slack=0.1)
    assert not replace(row, pre=1.0).holds(slack=0.1)
    assert not replace(row, pre=9.0).holds(slack=0.1)
