"""Ctrl-C and SIGTERM: finish the update, save, leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopFlag:
    """Set by a signal; the training loop looks at it after each update.

    Only code inside `deferring()` must not be torn apart (updates, a save): there the first
    signal is noted, and the second one stops at once. Elsewhere a signal is KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.requested = False
        self._deferring = 0

    @property
    def is_deferring(self) -> bool:
        """Whether a first signal would be noted instead of raised."""
        return self._deferring > 0

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Note the first signal instead of raising, for the length of a block."""
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._deferring and not self.requested:
            self.requested = True
            return
        self.requested = True
        raise KeyboardInterrupt

    @contextmanager
    def watching(self) -> Iterator[StopFlag]:
        """Handle SIGINT and SIGTERM for the length of a block (main thread only)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
