from __future__ import annotations

import pytest

from dlcli.engine.config import resolve
from dlcli.layernorm.config import LnGradientsConfig
from dlcli.layernorm.gradients import check_equation


def check(placement, *, regime="theorem", **exact):
    sizes = {"depth": 3, "width": 8, "tokens": 3, **exact}
    config = resolve(LnGradientsConfig, [{"exact": sizes, "stack": {"regime": regime}}])
    return check_equation(placement, config=config)


@pytest.mark.parametrize("regime", ["theorem", "transformer"])
@pytest.mark.parametrize(("placement", "equation"), [("post", "21'"), ("pre", "22'")])
def test_the_seeds_equations_hold_to_1e_10(placement, equation, regime):
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


def test_the_exponents_are_the_seeds():
    found = check("post")
    last = found.steps[-1]
    assert last.seed_bound == pytest.approx(found.final_gradient)
    assert last.lambda_product == pytest.approx(found.final_gradient * last.lambda_measured)
    assert found.steps[-2].seed_bound == pytest.approx(found.final_gradient * found.largest_lambda)


def test_a_tolerance_that_is_too_small_fails():
    assert not check("post", tolerance=1e-300).holds
