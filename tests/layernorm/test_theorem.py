"""Theorem 1 as a check: the sweep, its slopes, and what they are held against."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dlcli.engine.device import Compute
from dlcli.layernorm.gradients import draw
from dlcli.layernorm.theorem import (
    WidthSweep,
    judge,
    overall,
    slope_over_seeds,
    summarise,
    sweep_norms,
)
from tests.layernorm.tiny import CPU, small


def test_slope_and_interval_over_seeds():
    rows = [[d**-0.4 for d in (2, 8)], [d**-0.6 for d in (2, 8)]]
    slope = slope_over_seeds((2, 8), rows)
    assert slope.value == pytest.approx(-0.5)
    half = 12.706204736 * math.sqrt(0.02 / 2)
    assert slope.ci95 == pytest.approx((-0.5 - half, -0.5 + half))
    assert slope.note == ""


@pytest.mark.parametrize(
    ("x", "rows", "value", "note"),
    [
        ((2, 8), [[1.0, 4.0]], 1.0, "one seed gives no interval"),
        ((2, 4), [[1.0, 0.0]], None, "exactly zero"),
        ((2, 4), [], None, "no seed"),
        ((2,), [[1.0]], None, "two different"),
    ],
)
def test_what_has_no_slope_or_interval_says_why(x, rows, value, note):
    slope = slope_over_seeds(x, rows)
    assert slope.value == (None if value is None else pytest.approx(value))
    assert slope.ci95 is None
    assert note in slope.note


def claim(placement, low, high, tolerance):
    return judge(placement, measured((low + high) / 2, (low, high)), tolerance=tolerance)


def measured(slope, ci95, note=""):
    return WidthSweep(
        width=8, depths=(), last_layer_norm=(), by_seed=(), slope=slope, slope_ci95=ci95, note=note
    )


@pytest.mark.parametrize(
    ("placement", "low", "high", "verdict"),
    [
        ("post", -0.05, 0.09, "pass"),
        ("post", -0.05, 0.11, "fail"),
        ("post", -0.11, 0.05, "fail"),
        ("pre", -0.54, -0.46, "pass"),
        ("pre", -0.61, -0.46, "fail"),
    ],
)
def test_the_whole_interval_must_lie_within_the_tolerance(placement, low, high, verdict):
    found = claim(placement, low, high, 0.1)
    assert found.verdict == verdict
    words = {"pass": "consistent with", "fail": "outside the tolerance"}[verdict]
    assert words in found.words
    assert "upper bound" in found.words


def test_without_an_interval_nothing_is_decided():
    undecided = judge("post", measured(0.01, None, "one seed gives no interval"), tolerance=0.1)
    assert undecided.verdict is None
    assert "one seed gives no interval" in undecided.words
    assert overall([undecided]) is None
    assert overall([]) is None
    assert overall([claim("post", 0, 0, 0.05)]) == "pass"
    assert overall([undecided, claim("pre", 0, 0, 0.05)]) == "fail"


def test_widths_and_depths_of_unequal_number_make_a_full_grid():
    config = small(sweep={"widths": [6, 9]})
    *_, norms = sweep_norms(config, compute=CPU)
    assert {key: (len(rows), len(rows[0])) for key, rows in norms.items()} == {
        (p, w): (3, 3) for p in ("post", "pre") for w in (6, 9)
    }
    found = summarise(norms, sweep=config.sweep)["pre"]
    assert [w.width for w in found.widths] == [6, 9]
    assert found.slope == found.widths[0].slope
    deepest = [[norms["pre", w][seed][-1] for w in (6, 9)] for seed in range(3)]
    assert found.width_slope == slope_over_seeds((6, 9), deepest).value


def test_seeds_arrive_one_by_one_and_earlier_results_stay():
    results = list(sweep_norms(small(), compute=CPU))
    assert [len(norms["post", 8]) for norms in results] == [1, 2, 3]
    assert len({tuple(norms["post", 8][0]) for norms in results}) == 1
    assert list(sweep_norms(small(), compute=CPU)) == results


def test_depths_and_placements_of_one_seed_share_probe_and_layers():
    def drawn(placement, depth, index):
        return draw(placement, depth=depth, width=6, index=index, config=small(), device=CPU.device)

    (shallow, first), (deep, second) = drawn("post", 1, 0), drawn("pre", 3, 0)
    assert torch.equal(first.x, second.x)
    assert torch.equal(shallow.layer(0).w2, deep.layer(0).w2)
    third, other = drawn("pre", 3, 1)
    assert not torch.equal(first.x, other.x)
    assert not torch.equal(deep.layer(0).w2, third.layer(0).w2)


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_bfloat16_autocast_is_close(placement):
    half: Compute = replace(CPU, precision="bf16")
    config = small(sweep={"seeds": 1, "placements": [placement]})
    exact, rough = (next(sweep_norms(config, compute=c))[placement, 8][0] for c in (CPU, half))
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.2)
