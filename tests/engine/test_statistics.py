"""Student's quantiles, intervals of means, and slopes of power laws."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from dlcli.engine.statistics import loglog_slope, mean_interval, mean_std, student_quantile


@pytest.mark.parametrize(
    ("degrees", "expected", "error"),
    [
        (1, 12.706204736, 1e-9),
        (2, 4.302652730, 1e-9),
        (2.5, 3.574654842, 2e-5),
        (3, 3.182446305, 1e-6),
        (7, 2.364624252, 1e-7),
        (30, 2.042272456, 1e-9),
        (1e6, 1.959966, 1e-6),
    ],
)
def test_student_quantiles_match_the_tables(degrees: float, expected: float, error: float) -> None:
    assert student_quantile(degrees) == pytest.approx(expected, rel=error)


def test_the_interval_covers_in_95_percent_of_cases() -> None:
    stream = random.Random(0)
    hits = 0
    for _ in range(1000):
        _, interval = mean_interval([stream.gauss(1, 2) for _ in range(4)])
        assert interval is not None
        hits += interval[0] < 1 < interval[1]
    assert 920 <= hits <= 975
    assert mean_interval([3.0]) == (3.0, None)


@pytest.mark.parametrize("power", [-0.5, 0.0, 2.0])
def test_a_power_law_has_its_exponent_as_slope(power: float) -> None:
    depths = (2, 4, 8, 64)
    assert loglog_slope(depths, [3 * d**power for d in depths]) == pytest.approx(power, abs=1e-12)


def test_mean_and_sample_deviation() -> None:
    found = mean_std([1.0, 2.0, 4.0, math.inf])
    assert found.mean == pytest.approx(7 / 3)
    assert found.std == pytest.approx(statistics.stdev([1.0, 2.0, 4.0]))
    assert mean_std([3.0]).std is None
    assert math.isnan(mean_std([]).mean)
