"""The place that is redrawn: how often, and that it goes away."""

from __future__ import annotations

import pytest

from dlcli.display.progress import LiveBar
from tests.report.terminals import on_terminal


def test_it_is_drawn_at_once_then_at_most_eight_times_a_second_or_when_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consoles, out, err = on_terminal(monkeypatch)
    at: list[float] = []
    frames: list[float] = []

    def frame() -> str:
        frames.append(at[-1])
        return f"at {at[-1]}"

    bar = LiveBar(consoles, clock=lambda: at[-1])
    assert not bar.shown
    for moment in (5.0, 5.1, 5.13, 5.2):
        at.append(moment)
        bar.draw(frame)
    bar.draw(frame, now=True)
    assert frames == [5.0, 5.13, 5.2]
    assert bar.shown
    bar.stop()
    bar.stop()
    assert not bar.shown
    text = err.getvalue()
    assert "at 5.13" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert out.getvalue() == ""


def test_a_clock_that_goes_back_does_not_freeze_it(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, _, _ = on_terminal(monkeypatch)
    times = iter([9.0, 1.0])
    bar = LiveBar(consoles, clock=lambda: next(times))
    frames = iter(["before", "after"])
    for _ in range(2):
        bar.draw(lambda: next(frames))
    bar.stop()
    assert next(frames, None) is None
