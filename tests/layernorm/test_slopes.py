from __future__ import annotations

import math
import random

import pytest

from dlcli.layernorm.results import (
    geometric_mean,
    loglog_slope,
    mean_interval,
    slope_over_seeds,
    student_quantile,
)


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
