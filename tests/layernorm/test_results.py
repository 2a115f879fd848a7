""""""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict

import pytest

from dlcli.layernorm.measurement import measure
from dlcli.layernorm.results import (
    Slope,
    geometric_mean,
    judge,
    loglog_slope,
    mean_interval,
    overall,
    slope_over_seeds,
    student_quantile,
)
from tests.layernorm.test_measurement import small


def test_a_result_becomes_json_with_the_agreed_names():
    found = json.loads(json.dumps(asdict(measure(small(equations=True))), allow_nan=False))
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


def test_results_cannot_be_changed():
    with pytest.raises(AttributeError):
        measure(small()).done = 0.5


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706204736), (2, 4.302652730), (7, 2.364624252), (30, 2.042272456), (300, 1.967903)],
)
def test_student_quantiles_match_the_tables(freedom, quantile):
    assert student_quantile(freedom) == pytest.approx(quantile, rel=1e-6)


def test_other_probabilities():
    assert student_quantile(5, probability=0.95) == pytest.approx(2.015048373, rel=1e-6)


@pytest.mark.parametrize("power", [-0.5, 0.0, 2.0])
def test_a_power_law_has_its_exponent_as_slope(power):
    depths = (2, 4, 8, 64)
    assert loglog_slope(depths, [3 * d**power for d in depths]) == pytest.approx(power, abs=1e-12)


def test_slope_and_interval_over_seeds():
    rows = [[d**-0.4 for d in (2, 8)], [d**-0.6 for d in (2, 8)]]
    slope = slope_over_seeds((2, 8), rows)
    assert slope.value == pytest.approx(-0.5)
    assert slope.per_seed == pytest.approx((-0.4, -0.6))
    half = 12.706204736 * math.sqrt(0.02 / 2)
    assert slope.ci95 == pytest.approx((-0.5 - half, -0.5 + half))
    assert slope.note == ""


def test_the_interval_covers_in_95_percent_of_cases():
    stream = random.Random(0)
    hits = 0
    for _ in range(1000):
        _, interval = mean_interval([stream.gauss(1, 2) for _ in range(4)])
        hits += interval[0] < 1 < interval[1]
    assert 920 <= hits <= 975


def test_one_seed_has_a_slope_and_no_interval():
    slope = slope_over_seeds((2, 8), [[1.0, 4.0]])
    assert slope.value == pytest.approx(1.0)
    assert slope.ci95 is None
    assert slope.note == "one seed gives no interval"


@pytest.mark.parametrize(
    ("x", "rows", "note"),
    [
        ((2, 4), [[1.0, 0.0]], "exactly zero"),
        ((2, 4), [], "no seed"),
        ((2,), [[1.0]], "two different"),
    ],
)
def test_what_has_no_slope_says_why(x, rows, note):
    slope = slope_over_seeds(x, rows)
    assert slope.value is None
    assert slope.ci95 is None
    assert note in slope.note


def test_geometric_mean():
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert geometric_mean([1.0, 0.0]) == 0.0


def claim(placement, low, high, tolerance):
    slope = Slope(value=(low + high) / 2, ci95=(low, high), per_seed=())
    return judge(placement, slope, tolerance=tolerance)


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
    assert claim(placement, low, high, 0.1).verdict == verdict


def test_words_say_consistent_and_upper_bound():
    words = claim("pre", -0.53, -0.51, 0.05).words
    assert "consistent with" in words
    assert "upper bound" in words
    assert "outside the tolerance" in claim("pre", -0.03, -0.01, 0.05).words


def test_without_an_interval_nothing_is_decided():
    slope = Slope(value=0.01, ci95=None, per_seed=(), note="one seed gives no interval")
    undecided = judge("post", slope, tolerance=0.1)
    assert undecided.verdict is None
    assert "one seed gives no interval" in undecided.words
    assert overall([undecided]) is None
    assert overall([undecided, claim("pre", 0, 0, 0.05)]) == "fail"
    assert overall([undecided, claim("pre", -0.5, -0.5, 0.05)]) is None


def test_overall():
    good, bad = claim("post", 0, 0, 0.1), claim("post", 1, 1, 0.1)
    assert overall([good, good]) == "pass"
    assert overall([good, bad]) == "fail"
    assert overall([]) is None
