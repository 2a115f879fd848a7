"""The order of alternating runs, and the ratio they end in."""

from __future__ import annotations

import pytest

from tests.benchmarks.alternating import alternate, report


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def side(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    found = alternate({"a": lambda: side("a"), "b": lambda: side("b")}, runs=3)
    assert calls == ["a", "b"] * 4
    assert found == {"a": [3.0, 5.0, 7.0], "b": [4.0, 6.0, 8.0]}


def test_the_ratio_is_that_of_medians(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"slow": [1.0, 2.0, 9.0], "fast": [8.0, 4.0, 1.0]}
    report(found, unit="images/s", against="slow", faster=True)
    assert "2.00 x slow" in capsys.readouterr().out.splitlines()[1]
