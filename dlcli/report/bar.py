"""A place on the terminal that is redrawn: what every progress display here stands on."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import RenderableType
from rich.live import Live

from dlcli.report.console import Consoles

REFRESH_S = 1 / 8
BAR_WIDTH = 28


class LiveBar:
    """Redraw in place, at most eight times a second; nothing runs in the background.

    Standard output stays as it is: Rich would send it to standard error.

    Args:
        consoles: whose standard error, a terminal, to draw on.
        clock: monotonic seconds.
        transient: whether the last picture is taken away at the end.
    """

    def __init__(
        self, consoles: Consoles, *, clock: Callable[[], float], transient: bool = True
    ) -> None:
        self._consoles, self._clock, self._transient = consoles, clock, transient
        self._live: Live | None = None
        self._drawn_at = float("-inf")

    @property
    def shown(self) -> bool:
        """Whether it stands on the terminal now."""
        return self._live is not None

    def draw(self, frame: Callable[[], RenderableType], *, now: bool = False) -> None:
        """Draw what `frame` returns if it is time to, or `now`; the first time always."""
        moment = self._clock()
        if self._live is None:
            self._live = Live(
                console=self._consoles.err,
                auto_refresh=False,
                redirect_stdout=False,
                transient=self._transient,
            )
            self._live.start()
        elif not now and 0 <= moment - self._drawn_at < REFRESH_S:
            return
        self._drawn_at = moment
        self._live.update(frame(), refresh=True)

    def stop(self) -> None:
        """Give the cursor back."""
        if self._live is not None:
            self._live.stop()
            self._live = None
