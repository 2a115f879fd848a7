from __future__ import annotations

import pytest
import torch

from dlcli.engine.config import resolve
from dlcli.engine.device import Compute
from dlcli.layernorm.config import LnGradientsConfig
from dlcli.layernorm.gradients import LayerNorms, layer_norms
from dlcli.layernorm.measurement import average, draw, initial_profile, trained_profiles

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
