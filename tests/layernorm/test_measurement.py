"""One call that measures everything, and what it says of itself."""

from __future__ import annotations

import pytest
import torch

from dlcli.layernorm.config import LnGradientsConfig
from dlcli.layernorm.measurement import LnGradients, describe, run, sign
from tests.layernorm.tiny import small


def measure(config: LnGradientsConfig) -> LnGradients:
    *_, result = run(config)
    return result


def test_results_grow_and_the_last_is_complete():
    results = list(run(small(equations=True, train=True)))
    assert [r.complete for r in results] == [False] * (len(results) - 1) + [True]
    done = [r.done for r in results]
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert max(done[:-1]) < 1
    assert [r.seeds for r in results[:3]] == [1, 2, 3]
    assert results[0].placements["post"].slope_ci95 is None
    assert results[2].placements["post"].slope_ci95 is not None
    final = results[-1]
    assert [check.equation for check in final.equations] == ["21'", "22'"]
    assert final.lemmas is not None
    assert final.training is not None
    assert len(final.training.curves) == 3


def test_the_thread_count_is_put_back():
    torch.set_num_threads(2)
    try:
        stages = run(small())
        next(stages)
        assert torch.get_num_threads() == 1
        stages.close()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_remedies_are_measured_and_not_judged():
    names = ["sandwich", "deepnorm", "admin", "rezero", "dlcl"]
    found = measure(small(sweep={"placements": names}))
    assert list(found.placements) == names
    assert found.theorem == {}
    assert found.verdict is None
    assert found.placements["rezero"].note == "a gradient is exactly zero"
    assert all(result.source for result in found.placements.values())


def test_the_conditions_say_what_the_slopes_move_with():
    words = describe(LnGradientsConfig())
    for part in ("W^Q = W^K = 0", "d_ff = d", "16 × 16", "1,000 classes", "Gaussian Xavier"):
        assert part in words
    assert "not the setting" not in words
    assert "not the setting" in describe(small(stack={"regime": "transformer"}))
    assert "not the setting" in describe(small(stack={"gamma": 2.0}))


@pytest.mark.parametrize(
    "change",
    [
        {"sweep": {"classes": 6}},
        {"sweep": {"seeds": 2}},
        {"stack": {"gamma": 2.0}},
        {"compute": {"seed": 1}},
        {"layers": {"depth": 5}},
        {"train": True},
        {"equations": True},
    ],
)
def test_the_signature_changes_with_what_changes_the_numbers(change):
    assert sign(small(**change)) != sign(small())


def test_settings_that_change_no_number_are_not_in_it():
    base = sign(small())
    assert sign(small(sweep={"post_tolerance": 0.2}, per_layer=True)) == base
    assert sign(small(compute={"threads": 2})) == base
    assert sign(small(training={"lr": 0.5, "width": 16, "length": 9})) == base


@pytest.mark.slow
def test_the_defaults_are_consistent_with_theorem_1():
    """Post-norm 0 ± 0.1 and pre-norm -1/2 ± 0.05 at d = 256, L = 2 … 64, 8 seeds."""
    found = measure(LnGradientsConfig())
    assert found.verdict == "pass"
    assert abs(found.placements["post"].slope) < 0.05
    assert found.placements["pre"].slope == pytest.approx(-0.52, abs=0.02)
