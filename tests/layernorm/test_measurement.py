from __future__ import annotations

import pytest
import torch

from dlcli.engine.config import resolve
from dlcli.errors import ConfigError, RunFailed
from dlcli.layernorm.config import LnGradientsConfig
from dlcli.layernorm.measurement import describe, measure, run, sign


def small(**layers):
    base = {
        "sweep": {
            "depths": [1, 2, 4],
            "widths": [8],
            "seeds": 3,
            "batch_size": 3,
            "tokens": 2,
            "classes": 5,
        },
        "layers": {"depth": 3},
        "exact": {"depth": 2, "width": 4, "tokens": 2},
        "training": {
            "depth": 1,
            "width": 8,
            "length": 2,
            "vocabulary": 3,
            "steps": 2,
            "seeds": 1,
        },
    }
    return resolve(LnGradientsConfig, [base, layers])


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


def test_an_interrupted_run_has_its_last_result_in_hand():
    last = None
    stages = run(small(train=True))
    for last in stages:
        if last.seeds == 2:
            break
    stages.close()
    assert last is not None
    assert not last.complete
    assert last.placements["pre"].slope_ci95 is not None


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


def test_steps_add_profiles_on_the_task():
    found = measure(small(layers={"depth": 2, "steps": 2}))
    conditions = [profile.condition for profile in found.placements["post"].profiles]
    assert conditions == ["initialisation", "initialisation", "no warm-up", "warm-up"]


def test_remedies_are_measured_and_not_judged():
    names = ["sandwich", "deepnorm", "admin", "rezero", "dlcl"]
    found = measure(small(sweep={"placements": names}))
    assert list(found.placements) == names
    assert found.theorem == {}
    assert found.verdict is None
    assert found.placements["rezero"].note == "a gradient is exactly zero"
    assert all(result.source for result in found.placements.values())


def test_one_seed_is_undecided():
    found = measure(small(sweep={"seeds": 1}))
    assert found.verdict is None
    assert "one seed gives no interval" in found.theorem["pre"].words


def test_impossible_configs_fail_before_any_work():
    with pytest.raises(ConfigError):
        next(run(small(sweep={"depths": [2]})))


def test_float16_overflow_is_a_clear_failure():
    with pytest.raises(RunFailed, match="float16"):
        measure(small(sweep={"dtype": "float16"}, stack={"gamma": 1e6}))


def test_the_conditions_say_what_the_slopes_move_with():
    words = describe(resolve(LnGradientsConfig, []))
    for part in ("W^Q = W^K = 0", "d_ff = d", "16 × 16", "1,000 classes", "Gaussian Xavier"):
        assert part in words
    assert "not the setting" not in words
    assert "not the setting" in describe(small(stack={"regime": "transformer"}))
    assert "not the setting" in describe(small(stack={"gamma": 2.0}))


def test_the_signature_changes_with_what_changes_the_numbers():
    base = sign(small())
    for change in (
        {"sweep": {"classes": 6}},
        {"sweep": {"seeds": 2}},
        {"stack": {"gamma": 2.0}},
        {"compute": {"seed": 1}},
        {"layers": {"depth": 5}},
        {"train": True},
        {"equations": True},
    ):
        assert sign(small(**change)) != base


@pytest.mark.slow
def test_the_defaults_are_consistent_with_theorem_1():
    """The issue's figures: post 0 ± 0.1 and pre -1/2 ± 0.05 at d = 256, L = 2 … 64, 8 seeds."""
    found = measure(resolve(LnGradientsConfig, []))
    assert found.verdict == "pass"
    assert abs(found.placements["post"].slope) < 0.05
    assert found.placements["pre"].slope == pytest.approx(-0.52, abs=0.02)
