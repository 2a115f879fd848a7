"""Ctrl-C, SIGTERM and a closed terminal: finish the update, save, leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_ignored: dict[int, Any] = {}
"""Signals that `ignore_signals` has switched off, and the handlers to come back."""


class StopFlag:
    """Set by a signal; the training loop looks at it after each update.

    Only code inside `deferring()` must not be torn apart (updates, a save): there the first
    signal is noted, and the same one a second time stops at once. (`torchrun` passes Ctrl-C on as
    SIGTERM, so a worker gets one of each.) Elsewhere a signal is KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.requested = False
        self._deferring = 0
        self._noted: set[int] = set()

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Note the first signal instead of raising, for the length of a block."""
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._deferring and number not in self._noted:
            self._noted.add(number)
            return
        raise KeyboardInterrupt

    @contextmanager
    def watching(self) -> Iterator[StopFlag]:
        """Handle the signals for the length of a block (main thread only).

        One that is ignored stays so: `nohup` and shells protect background jobs that way.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        _heed_signals()
        foreign = (signal.SIG_IGN, None)
        watched = [number for number in _SIGNALS if signal.getsignal(number) not in foreign]
        before = {number: signal.signal(number, self._handle) for number in watched}
        try:
            yield self
        finally:
            for number, handler in before.items():
                if number in _ignored:
                    _ignored[number] = handler
                else:
                    signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignore what would stop this process, until something is watched again (main thread only).

    For a worker of a job that has failed: `torchrun` sends SIGTERM to all of them once one has
    ended, and must not cut off the sentence that says why. It kills what is left after half a
    minute.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is not None:  # installed by something that is not Python
                _ignored.setdefault(number, signal.signal(number, signal.SIG_IGN))


def _heed_signals() -> None:
    while _ignored:
        signal.signal(*_ignored.popitem())
