"""A place on the terminal that is redrawn: what every progress display here stands on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dlcli.display.console import Consoles, is_live, say
from dlcli.display.images import PictureRows, Still
from dlcli.display.tables import count, duration, number, size
from dlcli.engine.events import Evaluated, Event, Finished, Notice, Pictures, Progress, RunStarted

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


# -- How far a measurement is: a bar on a terminal, elsewhere a line now and then

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


# -- A download in words: a bar on a terminal, elsewhere a line now and then

DOWNLOAD_LINE_EVERY_S = 10.0


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
        elif now - self._shown_at >= DOWNLOAD_LINE_EVERY_S:
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


# -- A training run in words, while it runs: a listener for the engine's events
# On a terminal a bar is redrawn in place, with the newest pictures below it; elsewhere each
# evaluation is one line. Everything goes to standard error.

UNSAID = ("lr", "rate", "train_s", "elapsed_s", "epoch", "step")
"""Metrics that are in metrics.jsonl but not in the line of an evaluation."""
REASONS = {
    "done": "Done",
    "early-stop": "Stopped early (no better validation loss)",
    "max-minutes": "Stopped at the time limit",
    "interrupted": "Interrupted; saved",
}


class TrainingProgress:
    """Show a run: `with TrainingProgress(consoles) as listener: …; listener(event)`.

    The terminal is restored on any way out of the block. Nothing runs in the background: the bar is
    redrawn when an event comes, at most eight times a second.

    Args:
        consoles: where to write; `quiet` leaves the warnings.
        pictures: whether to show the newest pictures under the bar.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        consoles: Consoles,
        *,
        pictures: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consoles, self._pictures = consoles, pictures
        self._live = LiveBar(consoles, clock=clock, transient=False)
        self._started: RunStarted | None = None
        self._latest: Progress | None = None
        self._evaluated = ""
        self._gallery: RenderableType | None = None

    def __enter__(self) -> Self:
        """Begin; the bar itself appears with `RunStarted`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the last picture of the bar standing and give the cursor back."""
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take an event; those of no interest are passed over."""
        match event:
            case Notice():
                self._notice(event)
            case _ if self._consoles.quiet:
                pass
            case RunStarted():
                self._start(event)
            case Progress():
                self._latest = event
                self._draw()
            case Evaluated():
                self._evaluation(event)
            case Pictures() if self._pictures and self._live.shown:
                self._gallery = _gallery(event)
                self._draw(now=True)
            case Finished():
                self._finish(event)
            case _:
                pass

    def _notice(self, event: Notice) -> None:
        if event.level == "warning":
            self._consoles.warning(event.message)
        else:
            self._consoles.notice(event.message)

    def _start(self, event: RunStarted) -> None:
        self._live.stop()
        self._started, self._latest, self._evaluated, self._gallery = event, None, "", None
        say(self._consoles.err, started_line(event))
        if is_live(self._consoles.err):
            self._live.draw(self._frame, now=True)

    def _evaluation(self, event: Evaluated) -> None:
        epochs = self._started.epochs if self._started else None
        unit = self._started.unit if self._started else "items"
        remaining = _remaining(self._latest, step=event.step)
        line = evaluated_line(event, epochs=epochs, unit=unit, remaining_s=remaining)
        if not self._live.shown:
            say(self._consoles.err, line)
        else:
            self._evaluated = evaluated_line(event, epochs=epochs)
            self._draw(now=True)

    def _finish(self, event: Finished) -> None:
        if self._latest is not None:
            self._latest = replace(self._latest, step=event.step, remaining_s=None)
        self._draw(now=True)
        self._live.stop()
        unit = self._started.unit if self._started else "items"
        say(self._consoles.err, finished_line(event, unit=unit))

    def _draw(self, *, now: bool = False) -> None:
        if self._live.shown:
            self._live.draw(self._frame, now=now)

    def _frame(self) -> RenderableType:
        parts: list[RenderableType] = [self._bar()]
        for line in (losses_line(self._latest), self._evaluated):
            if line:
                parts.append(Text(line, no_wrap=True, overflow="ellipsis", style="dim"))
        if self._gallery is not None:
            parts.append(self._gallery)
        return Group(*parts)

    def _bar(self) -> RenderableType:
        started, latest = self._started, self._latest
        step, epoch = (latest.step, latest.epoch) if latest else (started.step if started else 0, 0)
        total = latest.total_steps if latest else 0
        grid = Table.grid(padding=(0, 2))
        speed = (
            f"{count(latest.rate)} {started.unit}/s" if latest and started and latest.rate else ""
        )
        remaining = latest.remaining_s if latest else None
        grid.add_row(
            f"epoch {epoch}/{started.epochs if started else '?'}",
            ProgressBar(total=max(total, 1), completed=step, width=BAR_WIDTH),
            f"{100 * step // max(total, 1)}%",
            speed,
            "" if remaining is None else f"{duration(remaining)} left",
        )
        return grid


def _gallery(event: Pictures) -> RenderableType:
    caption = Text(event.caption, no_wrap=True, overflow="ellipsis")
    return Still(Group(caption, PictureRows(event.images, max_rows=1)))


def started_line(event: RunStarted) -> str:
    """Say what begins, where, and from which update it goes on."""
    line = f"{event.title}: {event.epochs} epochs of {count(event.steps_per_epoch)} updates"
    if event.step:
        line += f", going on from update {count(event.step)}"
    return f"{line}, in {event.run}"


def losses_line(event: Progress | None) -> str:
    """Write the loss and its parts in nats: `loss 104.2 nats = reconstruction 79.1 + kl 25.1`."""
    if event is None or not event.losses:
        return ""
    parts = [f"{name} {number(value)}" for name, value in event.losses.items() if name != "loss"]
    total = event.losses.get("loss")
    if total is None:
        return "  ".join(parts)
    return f"loss {number(total)} nats" + (f"  ({', '.join(parts)})" if parts else "")


def evaluated_line(
    event: Evaluated,
    *,
    epochs: int | None = None,
    unit: str = "",
    remaining_s: float | None = None,
) -> str:
    """Write an evaluation as one line; with `unit`, speed and remaining time come last."""
    fields = [f"epoch {event.epoch}" + (f"/{epochs}" if epochs is not None else "")]
    fields += [field for side in ("train", "valid") if (field := _side(event.metrics, side))]
    fields += [
        f"{name} {_scalar(value)}"
        for name, value in event.metrics.items()
        if name not in UNSAID and not name.startswith(("train_", "valid_")) and _is_scalar(value)
    ]
    rate = event.metrics.get("rate")
    if unit and isinstance(rate, int | float) and rate:  # 0: nothing was trained in this session
        fields.append(f"{count(rate)} {unit}/s")
    if unit and remaining_s is not None:
        fields.append(f"{duration(remaining_s)} left")
    return "  ".join(fields)


def finished_line(event: Finished, *, unit: str) -> str:
    """Say why the run ended, how far it came and how fast it was."""
    speed = f", {count(event.rate)} {unit}/s" if event.rate else ""
    return (
        f"{REASONS.get(event.reason, event.reason)}: epoch {event.epoch}, "
        f"{count(event.step)} updates, {duration(event.train_s)} of training{speed}"
    )


def _side(metrics: Mapping[str, object], side: str) -> str:
    """Write `train_*` or `valid_*`: the loss in nats with its parts, then what is no part of it.

    Training measures the loss and its parts and nothing else, so its names tell the parts.
    """
    values = {
        name.removeprefix(f"{side}_"): _scalar(value)
        for name, value in metrics.items()
        if name.startswith(f"{side}_") and name not in UNSAID and _is_scalar(value)
    }
    loss = values.pop("loss", None)
    parts = [f"{name} {values.pop(name)}" for name in list(values) if f"train_{name}" in metrics]
    fields = [f"{name} {value}" for name, value in values.items()]
    if loss is not None:
        fields.insert(0, f"loss {loss} nats" + (f" ({', '.join(parts)})" if parts else ""))
    return f"{side} {', '.join(fields)}" if fields else ""


def _remaining(latest: Progress | None, *, step: int) -> float | None:
    """Bring the last estimate of the remaining seconds forward to `step`."""
    if latest is None or latest.remaining_s is None or not latest.step < latest.total_steps:
        return None
    left = latest.total_steps - step
    return latest.remaining_s * left / (latest.total_steps - latest.step) if left > 0 else None


def _is_scalar(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scalar(value: object) -> str:
    return number(value) if isinstance(value, int | float) else str(value)
