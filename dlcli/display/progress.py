"""Progress on standard error: Rich's bars on a terminal, elsewhere a line now and then.

Nothing runs in the background: a bar is redrawn when there is news, at most eight times a second.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TransferSpeedColumn,
)
from rich.segment import Segments
from rich.text import Text

from dlcli.display.console import Consoles, is_live, say
from dlcli.display.images import PictureRows
from dlcli.display.tables import count, duration, number, size
from dlcli.engine.events import (
    Evaluated,
    Event,
    Finished,
    Notice,
    Pictures,
    Preview,
    RunStarted,
    TrainingStep,
)
from dlcli.errors import plural

REFRESH_S = 1 / 8
LINE_EVERY_S = 15.0
BAR_WIDTH = 28
BESIDE_BAR = 52
"""Cells for the words around a bar."""

Clock = Callable[[], float]
"""Monotonic seconds."""


class Bar(Progress):
    """One task of `rich.progress`, drawn by `draw` alone.

    Standard output stays as it is: Rich would send it to standard error.
    """

    def __init__(
        self, consoles: Consoles, *columns: ProgressColumn, clock: Clock, transient: bool = True
    ) -> None:
        self.below: list[RenderableType] = []
        super().__init__(
            *columns,
            console=consoles.err,
            auto_refresh=False,
            redirect_stdout=False,
            transient=transient,
            get_time=clock,
        )
        self._drawn_at = -math.inf

    @property
    def task(self) -> Task:
        """The task."""
        return self.tasks[0]

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return what is drawn: the bar, and what stands below it."""
        yield from super().get_renderables()
        yield from self.below

    def stop(self) -> None:
        """Give the cursor back; Rich would end with an empty line where nothing was drawn."""
        if self.live.is_started:
            super().stop()

    def draw(self, *, now: bool = False) -> None:
        """Draw if it is time to, or `now`; the first time always."""
        moment = self.get_time()
        if not self.live.is_started:
            self.start()
        elif now or not 0 <= moment - self._drawn_at < REFRESH_S:
            self.refresh()
        else:
            return
        self._drawn_at = moment


def _bar_width(consoles: Consoles) -> int:
    return max(4, min(BAR_WIDTH, consoles.err.width - BESIDE_BAR))


class _Words(TextColumn):
    """A column of text as it is, without markup."""

    def __init__(self, text: str) -> None:
        super().__init__(text, markup=False)


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_time_left(task))


def _time_left(task: Task) -> str:
    """Say how much time is left by the pace since the task began or began anew."""
    begun_with = task.fields["begun_with"]
    total = task.total or 0
    gained, all_of_it = task.completed - begun_with, total - begun_with
    if not (gained > 0.02 * all_of_it and task.completed < total):
        return ""
    return f"{duration((task.elapsed or 0) * (total - task.completed) / gained)} left"


class _Measured:
    """What a measurement and a download share: the bar, and when a line is due instead."""

    def __init__(
        self,
        consoles: Consoles,
        *columns: ProgressColumn,
        label: str,
        total: float | None,
        clock: Clock,
    ) -> None:
        self._consoles, self._clock = consoles, clock
        self._bar = Bar(consoles, *columns, clock=clock)
        self._bar.add_task(label, total=total, note="", begun_with=0.0)
        self._line_at = clock()

    def __enter__(self) -> Self:
        """Begin; nothing is shown before the first call."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def _begin(self, done: float, *, label: str | None = None) -> None:
        """Estimate the time that is left from the pace from here on."""
        self._bar.reset(self._bar.task.id, description=label)
        self._bar.update(self._bar.task.id, begun_with=done)

    def _show(self, line: Callable[[], str], *, now: bool) -> None:
        """Draw the bar, or write `line()` if there is no terminal and one is due."""
        moment = self._clock()
        if self._consoles.quiet:
            return
        if is_live(self._consoles.err):
            self._bar.draw(now=now)
        elif moment - self._line_at >= LINE_EVERY_S:
            self._line_at = moment
            say(self._consoles.err, line())


class FractionProgress(_Measured):
    """Show a fraction growing: `with FractionProgress(consoles, label="…") as show: show(0.3)`.

    Args:
        consoles: where to write; with `quiet`, nothing is.
        label: what is being done.
        by_note: whether the time that is left follows from the pace since the note last changed,
            where what comes first says nothing of what follows.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        consoles: Consoles,
        *,
        label: str,
        by_note: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        columns = (
            _Words("{task.description}"),
            BarColumn(_bar_width(consoles)),
            _Words("{task.percentage:.0f}%"),
            _Words("{task.fields[note]}"),
            _TimeLeft(),
        )
        super().__init__(consoles, *columns, label=label, total=1.0, clock=clock)
        self._by_note = by_note

    def __call__(self, done: float, note: str = "", *, now: bool = False) -> None:
        """Take note that `done` (0 to 1) of the work is there; `note` says what it is at."""
        task = self._bar.task
        if self._by_note and note != task.fields["note"]:
            self._begin(done)
        self._bar.update(task.id, completed=done, note=note)
        self._show(self._line, now=now)

    def stage(self, done: float, label: str) -> None:
        """Take note of how far one of several works is; the time that is left is of that one.

        The beginning of each is shown at once, since nothing may follow for a while.
        """
        begins = label != self._bar.task.description or done < self._bar.task.completed
        if begins:
            self._begin(0.0, label=label)
        self(done, now=begins)

    def _line(self) -> str:
        task = self._bar.task
        parts = [f"{task.description}: {task.completed:.0%}", task.fields["note"], _time_left(task)]
        return ", ".join(filter(None, parts))


class DownloadProgress(_Measured):
    """Show bytes arriving: `with DownloadProgress(consoles, label="mnist") as show: …`.

    `show(done, total)` takes the bytes there are so far and the bytes there will be (None or 0
    where the server does not say). Several files may follow one another: fewer bytes than before
    begin anew.
    """

    def __init__(self, consoles: Consoles, *, label: str, clock: Clock = time.monotonic) -> None:
        columns = (
            _Words("{task.description}"),
            BarColumn(_bar_width(consoles)),
            DownloadColumn(),
            TransferSpeedColumn(),
            _TimeLeft(),
        )
        super().__init__(consoles, *columns, label=label, total=None, clock=clock)
        self._line_at = -math.inf
        self._begun = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the bar away, and say what came unless something went wrong."""
        super().__exit__(kind, error, traceback)
        if self._begun and kind is None and not self._consoles.quiet:
            task = self._bar.task
            seconds = duration(task.elapsed or 0.0)
            say(self._consoles.err, f"{task.description}: {size(task.completed)} in {seconds}")

    def __call__(self, done: int, total: int | None = None) -> None:
        """Take note that `done` of `total` bytes are there."""
        task = self._bar.task
        if not self._begun or done < task.completed:
            self._begun = True
            self._begin(done)
        task.total = total or None
        self._bar.update(task.id, completed=done)
        self._show(self._line, now=done == total)

    def _line(self) -> str:
        task = self._bar.task
        whole = f" of {size(task.total)}" if task.total else ""
        return f"{task.description}: {size(task.completed)}{whole}"


UNSAID = ("lr", "rate", "train_s", "elapsed_s", "epoch", "step")
"""Metrics that are in metrics.jsonl but not in the line of an evaluation."""
NOT_NATS = ("bleu", "chrf", "accuracy")
SHORT = {"reconstruction": "recon", "active_units": "active", "free_loss": "free"}
"""Names of metrics in the head of a column."""
NUMBER = 7
"""Cells of a number with four digits: `-1234.5`."""
REASONS = {
    "done": "Done",
    "early-stop": "Stopped early (no better validation loss)",
    "max-minutes": "Stopped at the time limit",
}


class TrainingProgress:
    """Show a run: `with TrainingProgress(consoles) as listener: …; listener(event)`.

    Each evaluation is a line of a `TrainingTable`; on a terminal it stands above a bar, which has
    the newest pictures below.
    The terminal is restored on any way out of the block.

    Args:
        consoles: where to write; `quiet` leaves the warnings.
        clock: monotonic seconds.
    """

    def __init__(self, consoles: Consoles, *, clock: Clock = time.monotonic) -> None:
        self._consoles, self._clock = consoles, clock
        self._bar: Bar | None = None
        self._started: RunStarted | None = None
        self._latest: TrainingStep | None = None
        self._table = TrainingTable(unit="items", width=consoles.err.width)
        self._gallery: list[RenderableType] = []

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
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, event: Event) -> None:
        """Take an event; those of no interest are passed over."""
        match event:
            case Notice(message=message) if message in self._consoles.said:
                pass  # of another seed or cell, or while the data were settled
            case Notice(level="warning"):
                self._consoles.warning(event.message)
            case Notice():
                self._consoles.notice(event.message)
            case _ if self._consoles.quiet:
                pass
            case RunStarted():
                self._start(event)
            case TrainingStep():
                self._latest = event
                self._draw()
            case Evaluated():
                self._evaluation(event)
            case Pictures() | Preview():
                self._show_pictures(event)
            case Finished():
                self._finish(event)
            case _:
                pass

    def _start(self, event: RunStarted) -> None:
        self.__exit__(None, None, None)
        self._started, self._latest, self._gallery = event, None, []
        self._table = TrainingTable(unit=event.unit, width=self._consoles.err.width)
        say(self._consoles.err, started_line(event))
        if is_live(self._consoles.err):
            columns = (
                _Words("{task.description}"),
                BarColumn(_bar_width(self._consoles)),
                _Words("{task.percentage:.0f}%"),
                _Words("{task.fields[speed]}"),
                _Words("{task.fields[left]}"),
            )
            self._bar = Bar(self._consoles, *columns, clock=self._clock, transient=False)
            self._bar.add_task("", total=1)
            self._draw(now=True)

    def _evaluation(self, event: Evaluated) -> None:
        for line in self._table.lines(event, remaining_s=_remaining(self._latest, step=event.step)):
            say(self._consoles.err, line)
        self._draw(now=True)

    def _show_pictures(self, event: Pictures | Preview) -> None:
        """Put pictures below the bar, rendered once since the bar is redrawn often."""
        if self._bar is not None:
            pictures = Group(Text(event.caption), PictureRows(event.images, max_rows=1))
            self._gallery = [Segments(self._consoles.err.render(pictures))]
            self._draw(now=True)

    def _finish(self, event: Finished) -> None:
        if self._latest is not None:
            self._latest = replace(self._latest, step=event.step, remaining_s=None)
        self._draw(now=True)
        self.__exit__(None, None, None)
        unit = self._started.unit if self._started else "items"
        if event.reason != "interrupted":  # the message that ends the program says more
            say(self._consoles.err, finished_line(event, unit=unit))

    def _draw(self, *, now: bool = False) -> None:
        started, latest, bar = self._started, self._latest, self._bar
        if bar is None or started is None:
            return
        speed = f"{count(latest.rate)} {started.unit}/s" if latest and latest.rate else ""
        remaining = latest.remaining_s if latest else None
        bar.update(
            bar.task.id,
            description=f"epoch {latest.epoch if latest else 0}/{started.epochs}",
            total=max(latest.total_steps, 1) if latest else 1,
            completed=latest.step if latest else 0,
            speed=speed,
            left="" if remaining is None else f"{duration(remaining)} left",
        )
        bar.below = [Text(losses_line(latest), style="dim"), *self._gallery]
        bar.draw(now=now)


def started_line(event: RunStarted) -> str:
    """Say what begins, where, and from which update it goes on."""
    size = f" ({event.sets['training']})" if "training" in event.sets else ""
    length = f"{plural(event.epochs, 'epoch')} of {plural(event.steps_per_epoch, 'update')}"
    line = f"{event.title} on {event.data}{size}: {length}"
    if event.step:
        line += f", going on from update {count(event.step)}"
    return f"{line}, in {event.run}"


def losses_line(event: TrainingStep | None) -> str:
    """Write the loss and its parts in nats: `loss 104.2 nats = reconstruction 79.1 + kl 25.1`."""
    if event is None or not event.losses:
        return ""
    parts = [f"{name} {number(value)}" for name, value in event.losses.items() if name != "loss"]
    total = event.losses.get("loss")
    if total is None:
        return "  ".join(parts)
    return f"loss {number(total)} nats" + (f"  ({', '.join(parts)})" if parts else "")


Column = tuple[str, str]
"""Whose loss it is part of (`train`, `valid` or nothing), and its name."""


class TrainingTable:
    """The evaluations of a training, a line each, in columns under a head that is written once.

    Where the columns take more room than there is, parts of the training loss are left out, then
    those of the validation loss; metrics.jsonl has all.

    Args:
        unit: what the speed counts.
        width: cells of a line.
    """

    def __init__(self, *, unit: str, width: int) -> None:
        self._unit, self._width = unit, width
        self._known: set[Column] = set()
        self._shown: list[Column] = []

    def lines(self, event: Evaluated, *, remaining_s: float | None = None) -> list[str]:
        """Return an evaluation's line, below the head if it has a column that is new."""
        cells = self._cells(event, remaining_s)
        head = []
        if not cells.keys() <= self._known:
            self._known, self._shown = set(cells), self._fitting(list(cells))
            head = self._head()
        row = (cells.get(column, "-").rjust(self._room(column)) for column in self._shown)
        return [*head, " ".join(row).rstrip()]

    def _cells(self, event: Evaluated, remaining_s: float | None) -> dict[Column, str]:
        cells: dict[Column, str] = {("", "epoch"): str(event.epoch)}
        for key, value in event.metrics.items():
            side, _, name = key.partition("_")
            if key in UNSAID or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if side not in ("train", "valid"):
                side, name = "", key
            text = number(value)
            cells[("" if name in NOT_NATS else side, name)] = (
                text if len(text) <= NUMBER else number(value, digits=2)
            )
        rate = event.metrics.get("rate")
        if isinstance(rate, int | float) and rate:  # 0: nothing was trained in this session
            cells["", f"{self._unit}/s"] = count(rate)
        cells["", "left"] = "" if remaining_s is None else duration(remaining_s)
        return {column: cells[column] for column in sorted(cells, key=_place)}

    def _fitting(self, columns: list[Column]) -> list[Column]:
        """Leave out what there is no room for, from the right."""
        for side in ("train", "valid"):
            for column in [c for c in reversed(columns) if c[0] == side and c[1] != "loss"]:
                if sum(self._room(c) + 1 for c in columns) - 1 > self._width:
                    columns.remove(column)
        return columns

    def _head(self) -> list[str]:
        """Return the lines of the head: of what the losses are, and the names of the columns."""
        above = []
        for side, columns in itertools.groupby(self._shown, key=lambda column: column[0]):
            span = sum(self._room(column) + 1 for column in columns) - 1
            label = f" {side} (nats) "
            label = label if len(label) < span else side
            above.append(label.center(span, "-") if side else " " * span)
        names = (SHORT.get(name, name) for _, name in self._shown)
        rooms = map(self._room, self._shown)
        below = (name.rjust(room) for name, room in zip(names, rooms, strict=True))
        return [line for line in (" ".join(above).rstrip(), " ".join(below)) if line]

    def _room(self, column: Column) -> int:
        name = SHORT.get(column[1], column[1])
        return {"epoch": 5, "left": 10}.get(name, max(NUMBER, len(name)))


def _place(column: Column) -> tuple[int, bool]:
    """Sort columns: the epoch, training, validation, then the rest; a loss before its parts."""
    side, name = column
    order = {"train": 1, "valid": 2}.get(side, 0 if name == "epoch" else 3)
    return order, name != "loss"


def finished_line(event: Finished, *, unit: str) -> str:
    """Say why the run ended, how far it came and how fast it was."""
    speed = f", {count(event.rate)} {unit}/s" if event.rate else ""
    return (
        f"{REASONS.get(event.reason, event.reason)}: epoch {event.epoch}, "
        f"{plural(event.step, 'update')}, {duration(event.train_s)} of training{speed}"
    )


def _remaining(latest: TrainingStep | None, *, step: int) -> float | None:
    """Bring the last estimate of the remaining seconds forward to `step`."""
    if latest is None or latest.remaining_s is None or not latest.step < latest.total_steps:
        return None
    left = latest.total_steps - step
    return latest.remaining_s * left / (latest.total_steps - latest.step) if left > 0 else None
