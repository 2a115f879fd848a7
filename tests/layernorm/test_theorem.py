from __future__ import annotations

import pytest

from dlcli.layernorm.results import Slope, judge, overall


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
