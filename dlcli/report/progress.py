"""A training run in words, while it runs: a listener for the engine's events.

On a terminal a bar is redrawn in place, with the newest pictures below it; elsewhere each
evaluation is one line. Everything goes to standard error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dlcli.engine.events import Evaluated, Event, Finished, Notice, Pictures, Progress, RunStarted
from dlcli.report.bar import BAR_WIDTH, LiveBar
from dlcli.report.console import Consoles, is_live, say
from dlcli.report.numbers import count, duration, number
from dlcli.report.terminal import PictureRows, Still

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
