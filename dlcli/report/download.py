"""A download in words: a bar on a terminal, elsewhere a line now and then."""

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
from dlcli.report.numbers import duration, size

LINE_EVERY_S = 10.0


class DownloadProgress:
    """Show bytes arriving: `with DownloadProgress(consoles, label="mnist") as show: …`.

    `show(done, total)` takes the bytes there are so far and the bytes there will be (None or 0
    where the server does not say). Several files may follow one another: fewer bytes than before
    begin anew.
    """

    def __init__(
        self,
        consoles: Consoles,
        *,
        label: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consoles, self._label, self._clock = consoles, label, clock
        self._bar = LiveBar(consoles, clock=clock)
        self._done, self._total = 0, 0
        self._first: tuple[float, int] | None = None
        self._shown_at = float("-inf")

    def __enter__(self) -> Self:
        """Begin; nothing is shown before the first bytes."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the bar away, and say what came unless something went wrong."""
        self._bar.stop()
        if self._first is not None and kind is None and not self._consoles.quiet:
            seconds = self._clock() - self._first[0]
            say(self._consoles.err, f"{self._label}: {size(self._done)} in {duration(seconds)}")

    def __call__(self, done: int, total: int | None = None) -> None:
        """Take note that `done` of `total` bytes are there."""
        now = self._clock()
        if self._first is None or done < self._done:
            self._first = (now, done)
        self._done, self._total = done, total or 0
        if self._consoles.quiet:
            return
        if is_live(self._consoles.err):
            self._bar.draw(lambda: self._frame(now), now=done == self._total)
        elif now - self._shown_at >= LINE_EVERY_S:
            self._shown_at = now
            say(self._consoles.err, f"{self._label}: {self._amount()}")

    def _frame(self, now: float) -> RenderableType:
        began, had = self._first or (now, 0)
        speed = (self._done - had) / (now - began) if now > began else 0.0
        left = (self._total - self._done) / speed if speed and self._total else None
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            self._label,
            ProgressBar(total=self._total or None, completed=self._done, width=BAR_WIDTH),
            self._amount(),
            f"{size(speed)}/s" if speed else "",
            "" if left is None else f"{duration(left)} left",
        )
        return grid

    def _amount(self) -> str:
        if not self._total:
            return size(self._done)
        return f"{size(self._done)} of {size(self._total)}"
