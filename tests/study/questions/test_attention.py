from __future__ import annotations

import pytest

from dlcli.assignment.lab import Lab
from dlcli.assignment.nmt import ATTENTION as QUESTION
from dlcli.assignment.nmt import interval_of_aer
from tests.study.questions.answers import number


def test_the_paper_s_example_runs_against_the_diagonal(lab: Lab) -> None:
    answer = QUESTION.answer(lab)
    assert number(answer, "steps against the diagonal").value == 2
    for kind in ("attention", "the posterior"):
        rate = number(answer, f"alignment error rate of {kind}, 12 sentences")
        assert rate.value is not None
        assert rate.ci95 is not None
        low, high = rate.ci95
        assert low is not None
        assert high is not None
        assert 0 <= low <= rate.value <= high < 20
        assert "task:align|data:grammar-test" in rate.signature
        assert f"links-from:{kind.split()[-1]}|" in rate.signature


def test_the_interval_of_a_rate_is_around_it() -> None:
    known = [frozenset({(0, 0), (1, 1)})] * 100
    half = [frozenset({(0, 0), (1, 0)}) if place % 2 else known[0] for place in range(100)]
    low, high = interval_of_aer(half, known)
    assert low < 0.25 < high
    assert interval_of_aer(known, known) == (0, 0)
    assert interval_of_aer(half, known) == pytest.approx((low, high))
