"""Signals, real ones: noted where something must not be torn apart, raised elsewhere."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from dlcli.engine.stopping import StopFlag, ignore_signals

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_stops_at_once(number: int) -> None:
    stop = StopFlag()
    with stop.watching(), stop.deferring():
        _send(number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            _send(number)


@pytest.mark.parametrize("number", SIGNALS)
def test_where_nothing_can_be_torn_a_signal_is_an_interrupt(number: int) -> None:
    stop = StopFlag()
    with stop.watching(), pytest.raises(KeyboardInterrupt):
        _send(number)
    assert stop.requested


def test_the_handlers_of_before_come_back_whatever_happens() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    def fail() -> None:
        with StopFlag().watching():
            assert [signal.getsignal(number) for number in SIGNALS] != before
            raise ValueError("on the way")

    with pytest.raises(ValueError, match="on the way"):
        fail()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_in_another_thread_signals_are_left_alone() -> None:
    found = []

    def work() -> None:
        with StopFlag().watching() as stop:
            found.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


def test_one_of_each_is_still_the_first_for_torchrun_passes_ctrl_c_on_as_sigterm() -> None:
    stop = StopFlag()
    with stop.watching(), stop.deferring():
        _send(signal.SIGINT)
        _send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            _send(signal.SIGINT)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = StopFlag()
        with stop.watching():
            _send(signal.SIGHUP)
        assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_failure_that_is_being_reported_is_not_cut_off_by_torchrun() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    outer = StopFlag()
    with outer.watching():
        with StopFlag().watching() as failing:
            ignore_signals()
            for number in SIGNALS:
                _send(number)
        _send(signal.SIGTERM)
        assert not failing.requested
        assert not outer.requested
        with StopFlag().watching() as following, pytest.raises(KeyboardInterrupt):
            _send(signal.SIGTERM)
        assert following.requested
        with pytest.raises(KeyboardInterrupt):
            _send(signal.SIGTERM)
        assert outer.requested
    assert [signal.getsignal(number) for number in SIGNALS] == before
