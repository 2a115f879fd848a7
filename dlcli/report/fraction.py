"""How far a measurement is: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table

from dlcli.report.bar import BAR_WIDTH, LiveBar
from dlcli.report.console import Consoles, is_live, say
from dlcli.report.numbers import duration

LINE_EVERY_S = 15.0


class FractionProgress:
    """Show a fraction growing: `with FractionProgress(consoles, label="…") as show: show(0.3)`.

    Nothing runs in the background, and nothing is shown before the first call.

    Args:
        consoles: where to write; with `quiet`, nothing is.
        label: what is being done.
        by_note: whether the time that is left is told from the pace since the note last changed,
            where what comes first says nothing of what follows.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        consoles: Consoles,
        *,
        label: str,
        by_note: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consoles, self._label, self._clock = consoles, label, clock
        self._bar = LiveBar(consoles, clock=clock)
        self._began = self._shown_at = clock()
        self._done = self._began_with = 0.0
        self._by_note, self._note = by_note, ""

    def __enter__(self) -> Self:
        """Begin to count the time."""
        self._began = self._shown_at = self._clock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def __call__(self, done: float, note: str = "", *, at_once: bool = False) -> None:
        """Take note that `done` (0 to 1) of the work is there; `note` says what it is at."""
        now = self._clock()
        if self._by_note and note != self._note:
            self._note, self._began, self._began_with = note, now, done
        if self._consoles.quiet:
            return
        if is_live(self._consoles.err):
            self._bar.draw(lambda: self._frame(done, note, now), now=at_once)
        elif now - self._shown_at >= LINE_EVERY_S:
            self._shown_at = now
            parts = [f"{self._label}: {done:.0%}", note, self._left(done, now)]
            say(self._consoles.err, ", ".join(part for part in parts if part))

    def pause(self) -> None:
        """Take the bar away for a line that stays; the next call brings it back."""
        self._bar.stop()

    def stage(self, label: str, done: float) -> None:
        """Take note of how far one of several works is; the time that is left is of that one.

        The beginning of each is shown at once, since nothing may follow for a while.
        """
        begins = label != self._label or done < self._done
        if begins:
            self._label, self._began = label, self._clock()
        self._done = done
        self(done, at_once=begins)

    def _frame(self, done: float, note: str, now: float) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=1.0, completed=done, width=BAR_WIDTH)
        grid.add_row(self._label, bar, f"{done:.0%}", note, self._left(done, now))
        return grid

    def _left(self, done: float, now: float) -> str:
        gained, all_of_it = done - self._began_with, 1 - self._began_with
        if not (gained > 0.02 * all_of_it and done < 1):
            return ""
        return f"{duration((now - self._began) * (1 - done) / gained)} left"
