"""One call that measures everything, and what it says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import pytest
import torch

from dlcli.engine.config import setting
from dlcli.errors import ConfigError, RunFailed
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


def test_a_result_becomes_json_with_the_agreed_names():
    found = json.loads(json.dumps(asdict(measure(small())), allow_nan=False))
    assert list(found["placements"]) == ["post", "pre"]
    for name in ("post", "pre"):
        result = found["placements"][name]
        assert result["depths"] == [1, 2, 4]
        assert len(result["last_layer_norm"]) == 3
        assert len(result["slope_ci95"]) == 2
        assert isinstance(result["slope"], float)
        assert [row["layer"] for row in result["per_layer"]] == [1, 2, 3]
        assert found["theorem"][name]["verdict"] in ("pass", "fail")
    assert found["verdict"] in ("pass", "fail")
    assert found["signature"].startswith("measure:ln-gradients|setting:theorem")


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


def test_impossible_configs_fail_before_any_work():
    with pytest.raises(ConfigError):
        next(run(small(sweep={"depths": [2]})))


def test_float16_overflow_is_a_clear_failure():
    with pytest.raises(RunFailed, match="float16"):
        measure(small(sweep={"dtype": "float16"}, stack={"gamma": 1e6}))


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


def test_a_new_setting_shows_by_itself():
    @dataclass(frozen=True, kw_only=True)
    class Wider(LnGradientsConfig):
        dropout: float = setting(0.0, help="a setting nobody has listed")

    assert sign(Wider()) == sign(LnGradientsConfig())
    assert "|dropout:0.5|" in sign(Wider(dropout=0.5))


@pytest.mark.slow
def test_the_defaults_are_consistent_with_theorem_1():
    """Post-norm 0 ± 0.1 and pre-norm -1/2 ± 0.05 at d = 256, L = 2 … 64, 8 seeds."""
    found = measure(LnGradientsConfig())
    assert found.verdict == "pass"
    assert abs(found.placements["post"].slope) < 0.05
    assert found.placements["pre"].slope == pytest.approx(-0.52, abs=0.02)
