"""Results that grow: the last one is returned, shown and followed by the right exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import typer

from dlcli.cli.options import Show
from dlcli.cli.training import leave_if_partial, measured
from dlcli.errors import Interrupted


@dataclass(frozen=True)
class Count:
    value: int
    complete: bool


def counting(
    last: int, *, stopped_at: int | None = None, by: int = signal.SIGINT
) -> Iterator[Count]:
    for value in range(1, last + 1):
        if value == stopped_at:
            os.kill(os.getpid(), by)
        yield Count(value, value == last)


def test_the_last_result_is_returned_and_each_is_told() -> None:
    heard: list[Count] = []
    assert measured(counting(3), told=heard.append) == Count(3, True)
    assert [count.value for count in heard] == [1, 2, 3]


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_result_before_it(by: int) -> None:
    before = signal.getsignal(by)
    found = measured(counting(5, stopped_at=4, by=by), told=lambda _: None)
    assert found == Count(3, False)
    assert signal.getsignal(by) == before


def test_a_signal_before_the_first_result_is_an_interruption() -> None:
    with pytest.raises(Interrupted, match="before anything was measured") as stop:
        measured(counting(5, stopped_at=1), told=lambda _: None)
    assert stop.value.exit_code == 130


def test_a_failure_is_passed_on() -> None:
    def failing() -> Iterator[Count]:
        yield Count(1, False)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        measured(failing(), told=lambda _: None)


def test_only_a_partial_result_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    leave_if_partial(Count(2, True), Show())
    assert capsys.readouterr().err == ""
    with pytest.raises(typer.Exit) as stop:
        leave_if_partial(Count(1, False), Show(), during="counting")
    assert stop.value.exit_code == 130
    assert "Interrupted during counting: this result is partial." in capsys.readouterr().err
