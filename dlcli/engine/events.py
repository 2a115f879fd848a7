"""What happens in a run, as values.

The training loop yields these; it neither prints nor draws. Rich bars, plain lines, figures and
JSON are listeners: callables that take an event.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NoticeCallback = Callable[[str], object]
"""Takes a sentence that the user should read."""
ProgressCallback = Callable[[float, str], object]
"""Takes what fraction of the work is done, 0 to 1, and what is being done."""


def no_progress(*_anything: object) -> None:
    """Stand for a callback where no progress is shown."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happens; one class for each kind. Printed, it is one line, without pixels or weights."""

    def __repr__(self) -> str:
        """Show every field that is a number or text, and the numbers in its mappings."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return f"{type(self).__name__}({_shown(values)})"


def _shown(values: Mapping[str, object]) -> str:
    """Write `name=value` of what is short, floats to five digits."""
    parts = []
    for name, value in values.items():
        if isinstance(value, float):
            parts.append(f"{name}={value:.5g}")
        elif isinstance(value, Mapping):
            parts.append(f"{name}=({_shown(value)})")
        elif value is None or isinstance(value, int | str | Path):
            parts.append(
                f"{name}={str(value)!r}" if isinstance(value, Path) else f"{name}={value!r}"
            )
    return ", ".join(parts)


@dataclass(frozen=True, kw_only=True, repr=False)
class RunStarted(Event):
    """Training is about to begin (or to go on, when `step` > 0)."""

    run: Path
    title: str
    data: str
    epochs: int
    steps_per_epoch: int
    step: int
    unit: str
    """What is counted in speeds: `images`, `tokens`."""
    sets: Mapping[str, str] = field(default_factory=dict)
    """What `training`, `validation` and `test` are of, such as `1,600 images`."""


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainingStep(Event):
    """A few times a second: where training stands."""

    epoch: int
    """1 for the first."""
    step: int
    """Updates so far, over the whole run."""
    total_steps: int
    losses: Mapping[str, float]
    """Mean per item since the last evaluation: `loss` and its parts, in nats."""
    rate: float
    """Items a second of training time since this process started."""
    lr: float
    remaining_s: float | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluated(Event):
    """An evaluation; exactly what goes into metrics.jsonl as one line."""

    epoch: int
    step: int
    metrics: Mapping[str, object]
    """`train_loss` and its parts, `valid_*` given validation data, `lr`, `rate`, `train_s`."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Saved(Event):
    """A checkpoint is on disk."""

    path: Path
    step: int


@dataclass(frozen=True, kw_only=True, repr=False)
class Pictures(Event):
    """Pictures that a run keeps."""

    epoch: int
    images: object
    """A float array (N, H, W), in colour (N, H, W, 3), in [0, 1]."""
    caption: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Preview(Event):
    """Pictures of the network as it is now, for a screen; nothing keeps them."""

    images: object
    """A float array (N, H, W), in colour (N, H, W, 3), in [0, 1]."""
    caption: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Notice(Event):
    """A sentence for the user, such as a warning of posterior collapse."""

    message: str
    level: str = "info"
    """`info` or `warning`."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Finished(Event):
    """Training ended: why, and with what."""

    reason: str
    """`done`, `early-stop`, `max-minutes`, `interrupted`."""
    epoch: int
    step: int
    train_s: float
    """Seconds of training steps alone, over all sessions of the run."""
    rate: float
    """Items a second of training time in this session."""


@dataclass(frozen=True, kw_only=True)
class Measured(Event):
    """The result of a finished training is recorded."""

    test: Mapping[str, float]
    """What `train_*` metrics are on the test set; empty where there is none."""


@dataclass(frozen=True, kw_only=True, repr=False)
class CheckpointDue(Event):
    """The moment for a checkpoint: `state` is to be saved before the next event is taken."""

    name: str
    """`last`, `best` or `epoch-0010`: the file's stem."""
    step: int
    state: Mapping[str, object]
