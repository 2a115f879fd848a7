""""""

from __future__ import annotations

import pytest
import torch

from dlcli.engine.config import resolve
from dlcli.engine.device import Compute
from dlcli.errors import ConfigError, RunFailed
from dlcli.layernorm.config import LnGradientsConfig
from dlcli.layernorm.gradients import LayerNorms, layer_norms
from dlcli.layernorm.measurement import (
    Grid,
    average,
    describe,
    draw,
    initial_profile,
    measure,
    run,
    sign,
    summarise,
    sweep_norms,
    trained_profiles,
)


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


CPU = Compute(device=torch.device("cpu"), precision="fp32", threads=1)


def config(*, steps=0, lr=1e-3, depth=3):
    return resolve(
        LnGradientsConfig,
        [
            {
                "sweep": {"widths": [8], "seeds": 2, "batch_size": 3, "tokens": 2, "classes": 5},
                "layers": {"depth": depth, "steps": steps},
                "training": {
                    "width": 8,
                    "length": 3,
                    "vocabulary": 4,
                    "batch_size": 4,
                    "seeds": 2,
                    "lr": lr,
                },
            }
        ],
    )


def test_the_initial_profile_is_the_mean_over_the_sweeps_draws():
    found = initial_profile("post", config=config(), compute=CPU)
    assert (found.condition, found.step, found.problem, found.seeds) == (
        "initialisation",
        0,
        "gaussian",
        2,
    )
    assert [row.layer for row in found.rows] == [1, 2, 3]
    norms = []
    for index in range(2):
        stack, probe = draw(
            "post", depth=3, width=8, index=index, config=config(), device=torch.device("cpu")
        )
        norms.append(layer_norms(stack, probe.x, loss=probe.loss))
    for i, row in enumerate(found.rows):
        assert row.w2 == pytest.approx((norms[0].w2[i] + norms[1].w2[i]) / 2)
        assert row.hidden == pytest.approx((norms[0].hidden[i] + norms[1].hidden[i]) / 2)
    assert found.first_to_last == pytest.approx(found.rows[0].hidden / found.output_hidden)


def test_training_changes_the_profile_and_warm_up_changes_the_training():
    before, bare, warm = trained_profiles("pre", config=config(steps=5), compute=CPU)
    assert [p.condition for p in (before, bare, warm)] == [
        "initialisation",
        "no warm-up",
        "warm-up",
    ]
    assert [p.step for p in (before, bare, warm)] == [0, 5, 5]
    assert before.loss != bare.loss != warm.loss
    assert before.rows != bare.rows != warm.rows


def test_a_training_that_diverges_leaves_a_note():
    found = list(trained_profiles("rezero", config=config(steps=30, lr=1e3), compute=CPU))
    assert found[0].rows
    assert found[0].note == ""
    for profile in found[1:]:
        assert profile.note or profile.rows


def test_depth_one_has_one_row():
    assert len(initial_profile("pre", config=config(depth=1), compute=CPU).rows) == 1


def test_averages_of_nothing_are_empty_and_a_zero_gradient_has_no_ratio():
    empty = average([], condition="c", step=1, problem="p")
    assert empty.rows == ()
    assert empty.loss is None
    dead = LayerNorms(weights=(0.0,), w2=(0.0,), hidden=(0.0, 0.0), loss=1.0)
    assert average([dead], condition="c", step=0, problem="p").first_to_last is None


SWEEP_CPU = Compute(device=torch.device("cpu"), precision="fp32", threads=1)


def sweep_config(**sweep):
    small = {"depths": [1, 3], "widths": [6], "seeds": 2, "batch_size": 3, "tokens": 2}
    return resolve(LnGradientsConfig, [{"sweep": {**small, "classes": 5, **sweep}}])


def test_the_grid_is_sorted_and_without_duplicates():
    grid = Grid.of(sweep_config(depths=[8, 2, 8], placements=["pre", "post", "pre"]))
    assert grid.depths == (2, 8)
    assert grid.placements == ("pre", "post")


def test_widths_and_depths_of_unequal_number_make_a_full_grid():
    settings = sweep_config(depths=[1, 2, 4], widths=[6, 9])
    *_, norms = sweep_norms(settings, compute=SWEEP_CPU)
    assert {key: (len(rows), len(rows[0])) for key, rows in norms.items()} == {
        (p, w): (2, 3) for p in ("post", "pre") for w in (6, 9)
    }
    found = summarise(norms, grid=Grid.of(settings))["pre"]
    assert [w.width for w in found.widths] == [6, 9]
    assert found.slope == found.widths[0].slope
    assert found.width_slope is not None


def test_seeds_arrive_one_by_one_and_earlier_results_stay():
    counts = []
    for norms in sweep_norms(sweep_config(seeds=3), compute=SWEEP_CPU):
        counts.append((len(norms["post", 6]), norms["post", 6][0]))
    assert [count for count, _ in counts] == [1, 2, 3]
    assert len({tuple(first) for _, first in counts}) == 1


def test_the_seed_decides_everything():
    a, b = (list(sweep_norms(sweep_config(), compute=SWEEP_CPU))[-1] for _ in range(2))
    assert a == b


def test_depths_of_one_seed_share_probe_and_layers():
    settings = sweep_config()
    shallow, first = draw(
        "post", depth=1, width=6, index=0, config=settings, device=torch.device("cpu")
    )
    deep, second = draw(
        "pre", depth=3, width=6, index=0, config=settings, device=torch.device("cpu")
    )
    assert torch.equal(first.x, second.x)
    assert torch.equal(shallow.layer(0).w2, deep.layer(0).w2)
    third, other = draw(
        "pre", depth=3, width=6, index=1, config=settings, device=torch.device("cpu")
    )
    assert not torch.equal(first.x, other.x)
    assert not torch.equal(deep.layer(0).w2, third.layer(0).w2)


def test_one_seed_has_no_interval():
    *_, norms = sweep_norms(sweep_config(seeds=1), compute=SWEEP_CPU)
    found = summarise(norms, grid=Grid.of(sweep_config(seeds=1)))["post"]
    assert found.slope is not None
    assert found.slope_ci95 is None
    assert found.note == "one seed gives no interval"


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_bfloat16_autocast_is_close(placement):
    half = Compute(device=torch.device("cpu"), precision="bf16", threads=1)
    settings = sweep_config(seeds=1, placements=[placement])
    exact, rough = (
        next(sweep_norms(settings, compute=c))[placement, 6][0] for c in (SWEEP_CPU, half)
    )
    assert rough == pytest.approx(exact, rel=0.2)
