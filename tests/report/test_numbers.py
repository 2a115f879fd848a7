"""A number shows what is known of it: examples, and what must hold for all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcli.display.tables import count, duration, interval, number, size, with_error


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (101.2345, 0.0512, "101.23 ± 0.05"),
        (101.2345, 0.0149, "101.234 ± 0.015"),
        (101.2345, 0.0096, "101.23 ± 0.01"),
        (96.0, 0.95, "96.0 ± 0.9"),
        (12345.6, 120.0, "12350 ± 120"),
        (-0.5123, 0.2, "-0.5 ± 0.2"),
        (1.234e-9, 5.1e-11, "(1.23 ± 0.05)e-09"),
        (2.5e12, 1.3e10, "(2.500 ± 0.013)e+12"),
        (101.5, 0.0, "101.500 ± 0"),
        (101.5, None, "101.5"),
        (math.nan, 0.1, "-"),
        (None, None, "-"),
        (3.0, math.inf, "3.000"),
    ],
)
def test_value_and_error_are_cut_at_the_same_place(
    value: float | None, error: float | None, text: str
) -> None:
    assert with_error(value, error) == text


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_what_is_written_is_within_half_an_error_of_the_value(value: float, error: float) -> None:
    shown, _, shown_error = with_error(value, error).partition(" ± ")
    assert abs(float(shown) - value) <= 0.5 * error
    assert float(shown_error) == pytest.approx(error, rel=0.34)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (101.04, "101.0"), (0.0123456, "0.01235"), (99.996, "100.0"), (1e-7, "1.000e-07"),
        (12, "12"), (True, "yes"), (None, "-"), (math.nan, "-"), (-math.inf, "-inf"), (0.0, "0"),
        (123456.7, "123500"), (1e30, "1.000e+30"),
    ],
)  # fmt: skip
def test_numbers_have_four_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_intervals_counts_times_and_sizes() -> None:
    assert interval(-0.51, 0.06, digits=2) == "[-0.51, 0.060]"
    assert [count(37012.3), count(12.34), count(7)] == ["37,012", "12.3", "7"]
    assert [duration(0.44), duration(59.7), duration(203), duration(7500)] == [
        "0.4 s", "1 min 00 s", "3 min 23 s", "2 h 05 min",
    ]  # fmt: skip
    assert [size(512), size(9_912_422), size(1.2e9), size(999_600)] == [
        "512 B", "9.9 MB", "1.2 GB", "1.0 MB",
    ]  # fmt: skip
