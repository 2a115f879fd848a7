"""A fraction in words, on a terminal and elsewhere."""

from __future__ import annotations

import pytest

from dlcli.display.progress import FractionProgress
from tests.report.terminals import on_pipes, on_terminal


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, err = on_pipes(monkeypatch)
    now = 0.0
    with FractionProgress(consoles, label="work", clock=lambda: now) as show:
        for second in range(0, 41, 5):
            now = float(second)
            show(second / 40, "3 seeds")
    assert err.getvalue().splitlines() == [
        "work: 38%, 3 seeds, 25 s left",
        "work: 75%, 3 seeds, 10 s left",
    ]
    assert out.getvalue() == ""


def test_on_a_terminal_a_bar_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch)
    now = 0.0
    with FractionProgress(consoles, label="work", clock=lambda: now) as show:
        for second in range(5):
            now = float(second)
            show(second / 4, "note")
    text = err.getvalue()
    assert "50%" in text
    assert "note" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_on_a_terminal_the_next_work_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch)
    with FractionProgress(consoles, label="", clock=lambda: 0.0) as show:
        for label, done in (("first", 0.0), ("first", 0.9), ("second", 0.0), ("second", 0.5)):
            show.stage(label, done)
    text = err.getvalue()
    assert "90%" not in text, "not more than eight times a second"
    assert text.index("first") < text.index("second")


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_pipes(monkeypatch, quiet=True)
    with FractionProgress(consoles, label="work", clock=lambda: 0.0) as show:
        show(0.5)
    assert err.getvalue() == ""


def test_one_work_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_pipes(monkeypatch)
    now = 0.0
    with FractionProgress(consoles, label="", clock=lambda: now) as show:
        show.stage("a", 0.0)
        now = 40.0
        show.stage("a", 1.0)
        now = 41.0
        show.stage("b", 0.0)
        now = 61.0
        show.stage("b", 0.5)
        now = 70.0
        show.stage("b", 0.0)
        now = 80.0
        show.stage("b", 0.5)
    assert err.getvalue().splitlines() == [
        "a: 100%",
        "b: 50%, 20 s left",
        "b: 50%, 10 s left",
    ]


def test_what_came_before_says_nothing_of_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_pipes(monkeypatch)
    moments = iter((0.0, 0.0, 0.0, 1.0, 1.0, 21.0))
    with FractionProgress(consoles, label="w", by_note=True, clock=lambda: next(moments)) as show:
        for done, note in ((0.0, "quick"), (0.5, "quick"), (0.5, "slow"), (0.7, "slow")):
            show(done, note)
    assert err.getvalue().splitlines() == ["w: 70%, slow, 30 s left"]


def test_a_line_that_stays_finds_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, err = on_terminal(monkeypatch)
    with FractionProgress(consoles, label="", clock=lambda: 0.0) as show:
        show.stage("first", 0.0)
        show.pause()
        consoles.notice("done with it")
        show.stage("second", 0.0)
    before = err.getvalue().split("done with it")[0]
    after_bar = before[before.rindex("first") :]
    assert "\x1b[?25h" in after_bar, "the bar has given the cursor back"
    assert "\x1b[2K" in after_bar, "and cleared its line"
