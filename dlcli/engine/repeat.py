"""The same training several times: over seeds, or over the cells of a grid."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import statistics
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from dlcli.engine.config import DataclassType
from dlcli.engine.distributed import PeerLost, launched_world
from dlcli.engine.events import Event, Notice, RunStarted
from dlcli.engine.runs import claim_folder, fresh_path
from dlcli.engine.session import RunLocation
from dlcli.engine.settings import ComputeConfig
from dlcli.errors import Interrupted, RunFailed

Listener = Callable[[Event], None]


class TrainConfig(DataclassType, Protocol):
    """The settings of any training."""

    @property
    def compute(self) -> ComputeConfig:
        """Return device, precision and seed."""
        ...


C = TypeVar("C", bound=TrainConfig)
C_contra = TypeVar("C_contra", bound=TrainConfig, contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Train(Protocol[C_contra, R_co]):
    """What trains: `dlcli.vae.training.train` or `dlcli.nmt.training.train`."""

    def __call__(
        self, config: C_contra, *, location: RunLocation | None = None, init_from: str | None = None
    ) -> Generator[Event, None, R_co | None]:
        """Train, yielding events; return the result on the main process."""
        ...


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A number over repetitions."""

    mean: float
    std: float | None
    """Sample standard deviation over the repetitions; None for a single one."""
    values: tuple[float, ...]


def spread(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation."""
    finite = [value for value in values if math.isfinite(value)]
    std = statistics.stdev(finite) if len(finite) > 1 else None
    mean = statistics.fmean(finite) if finite else math.nan
    return Spread(mean=mean, std=std, values=tuple(values))


def train_once(
    config: C,
    *,
    train: Train[C, R],
    location: RunLocation,
    init_from: str | None = None,
    listeners: Sequence[Listener] = (),
) -> R | None:
    """Train to the end, telling every listener; None on processes other than the main one.

    Raises:
        Interrupted: a signal stopped it, wherever it was; says how to go on.
    """
    events = train(config, location=location, init_from=init_from)
    run: Path | None = None
    with contextlib.closing(events):  # its run is closed at once, whatever a listener does
        try:
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    result: R | None = end.value
                    return result
                run = event.run if isinstance(event, RunStarted) else run
                for listener in listeners:
                    listener(event)
        except KeyboardInterrupt:
            raise _interrupted(run) from None


def _interrupted(run: Path | None) -> Interrupted:
    """Say what is left of a training that a signal caught outside of its updates."""
    if run is None:
        return Interrupted("Interrupted before the training began.", hint="Start it again.")
    return Interrupted(
        "Interrupted; what was trained is saved as of the last checkpoint.",
        hint=f"Go on with --resume {run}.",
    )


def seeds_of(config: C, count: int) -> dict[str, C]:
    """Return the config once for each of `count` seeds, counted on from its own."""
    first = config.compute.seed
    return {
        f"seed-{seed}": dataclasses.replace(
            config, compute=dataclasses.replace(config.compute, seed=seed)
        )
        for seed in range(first, first + count)
    }


def train_all(
    cells: Mapping[str, C],
    *,
    train: Train[C, R],
    location: RunLocation,
    title: str,
    tolerant: bool,
    init_from: str | None = None,
    listeners: Sequence[Listener] = (),
) -> dict[str, R]:
    """Train every cell into a folder of its own under one base folder.

    With `location.resume`, cells that are done give their result again, those that were stopped go
    on, and the others start.

    Args:
        cells: label → settings.
        train: what trains one of them.
        location: the base folder.
        title: its name under `runs/` where none was given.
        tolerant: whether a cell that fails (a learning rate that diverges, say) costs a warning and
            its place in the results, as in a grid. A failed seed must not: the mean of those that
            remain would be that of a selection.
        init_from: a run whose weights to start from.
        listeners: told every event of every cell.

    Raises:
        RunFailed: a cell failed, or with `tolerant` every cell.
    """
    results: dict[str, R] = {}
    failures: list[RunFailed] = []
    with base_folder(title, location=location) as base:
        for label, config in cells.items():
            where = _cell_place(base / folder_name(label), location)
            try:
                result = train_once(
                    config, train=train, location=where, init_from=init_from, listeners=listeners
                )
            except Interrupted as error:
                again = f"Go on with the same command and --resume {base}."
                raise Interrupted(f"{label}: {error.message}", hint=again) from None
            except RunFailed as error:
                failures.append(RunFailed(f"{label}: {error.message}", hint=error.hint))
                if not tolerant or isinstance(error, PeerLost):
                    raise failures[-1] from None
                for listener in listeners:
                    listener(Notice(message=failures[-1].message, level="warning"))
                continue
            if result is not None:
                results[label] = result
    if len(failures) == len(cells):
        raise failures[-1]
    return results


@contextlib.contextmanager
def base_folder(title: str, *, location: RunLocation) -> Iterator[Path]:
    """Give the folder of several runs: the one named, or a new one, removed if it stays empty."""
    named = location.resume or location.out
    if named is not None:
        yield named
    elif not launched_world().is_main:
        yield fresh_path(title)
    else:
        made = claim_folder(title)
        try:
            yield made
        finally:
            with contextlib.suppress(OSError):  # it is not empty
                made.rmdir()


def folder_name(label: str) -> str:
    """Turn a cell's label into a folder name that every file system takes."""
    return re.sub(r"[^\w.=+-]+", "_", label) or "cell"


def _cell_place(folder: Path, location: RunLocation) -> RunLocation:
    if location.resume is not None and (folder / "config.yaml").is_file():
        return RunLocation(resume=folder)
    return RunLocation(out=folder, force=location.force)
