"""The trainer behind every `train` command: one training, several seeds, or a grid.

A chapter says in a `Task` what is special about training its network. `train` does the rest: it
opens or resumes the run, loads data and starting weights, follows the training loop, and records
the result. `train_once` and `train_all` run such a training to its end with listeners attached.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from dlcli.engine.checkpoint import load_model, load_weights_into
from dlcli.engine.config import flags_of_difference, load_yaml
from dlcli.engine.distributed import PeerLost, launched_world
from dlcli.engine.events import Event, Finished, Measured, Notice, NoticeCallback, RunStarted
from dlcli.engine.loop import Criterion, Learner
from dlcli.engine.results import Result
from dlcli.engine.runs import RunFolder, claim_folder, find_run, fresh_path, open_unfinished
from dlcli.engine.session import RunLocation, Session, check_unchanged, open_session
from dlcli.engine.settings import RunConfig
from dlcli.errors import CheckpointError, ConfigError, Interrupted, RunFailed, plural

OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
)
"""How torch and its allocators say that memory has run out."""

Listener = Callable[[Event], None]


class Data(Protocol):
    """What a training reads, loaded."""

    @property
    def name(self) -> str:
        """Return the data set's true name, also where the settings say `auto`."""

    @property
    def sets(self) -> Mapping[str, str]:
        """Return what `training`, `validation` and `test` are of, each in a few words."""


UNLOCKED = (
    "This file system has no locks: nothing keeps a second training out of the run folder, so "
    "start none there."
)
C = TypeVar("C", bound=RunConfig)
D = TypeVar("D", bound=Data)
L = TypeVar("L", bound=Learner)
R = TypeVar("R", bound=Result)
Train = Callable[..., Generator[Event, None, R | None]]
"""`dlcli.vae.training.train` or `dlcli.nmt.training.train`: settings, `location`, `init_from`."""


class Task(ABC, Generic[C, D, L, R]):
    """What is special about training one kind of network."""

    kind: str
    """What run.json and checkpoints call it, and the command `dl KIND train`."""
    weights_hint: str
    """What to do where the weights of --init-from are those of another network."""

    @abstractmethod
    def title(self, config: C) -> str:
        """Return a short name of the run, such as `vae-conv`."""

    @abstractmethod
    def check(self, config: C, *, untrained: bool) -> None:
        """Raise a ConfigError where settings contradict each other.

        Args:
            config: all settings.
            untrained: whether the training starts from random weights.
        """

    @abstractmethod
    def load_data(
        self,
        config: C,
        *,
        resumed: RunFolder | None,
        origin: RunFolder | None,
        notice: NoticeCallback,
    ) -> D:
        """Load the data, and refuse settings that they do not allow.

        Args:
            config: all settings.
            resumed: the run that is resumed.
            origin: the run whose weights the training starts from.
            notice: takes a sentence that the user should read.
        """

    @abstractmethod
    def build_network(self, config: C, data: D) -> nn.Module:
        """Build the network, initialised from torch's global seed."""

    @abstractmethod
    def build_learner(self, config: C, data: D, *, device: torch.device, processes: int) -> L:
        """Build network and data on a device, as the training loop takes them."""

    @abstractmethod
    def result(self, session: Session, learner: L, *, data: D, end: Finished) -> R:
        """Measure a finished training; called on the main process alone."""

    @abstractmethod
    def read_result(self, fields: Mapping[str, Any]) -> R:
        """Rebuild a result from run.json; TypeError or KeyError where it is of another version."""

    def bf16_pays(self, config: C) -> bool:  # noqa: ARG002
        """Say whether bfloat16 was measured to be faster without hurting the loss."""
        return True

    def with_data(self, config: C, data: D) -> C:
        """Fill in what the settings leave to the data."""
        return with_data_name(config, data.name)

    def resumed_config(self, config: C, run: RunFolder) -> C:
        """Let `auto` mean the data set that the run was started on."""
        saved = load_yaml(run.config_file).get("data")
        name = saved.get("name") if isinstance(saved, dict) else None
        if config.data.name != "auto" or not isinstance(name, str):
            return config
        return with_data_name(config, name)

    def starting_weights(
        self,
        weights: Mapping[str, Any],
        network: nn.Module,  # noqa: ARG002
    ) -> Mapping[str, Any]:
        """Return what to load of another run's weights."""
        return weights

    def record_start(self, session: Session, data: D) -> None:
        """Write beside the settings what else the run needs; on the main process alone."""

    def criterion(self, config: C) -> Criterion:  # noqa: ARG002
        """Return what chooses the best checkpoint."""
        return Criterion()

    def keep_epochs(self, config: C) -> tuple[int, ...]:  # noqa: ARG002
        """Return the epochs after which a checkpoint is kept under its own name."""
        return ()

    def test_losses(self, config: C, result: R) -> Mapping[str, float]:  # noqa: ARG002
        """Return the losses on a test set that may stand beside those of training."""
        return {}

    def watch(self, config: C, learner: L, events: Iterable[Event]) -> Iterator[Event]:  # noqa: ARG002
        """Pass the training loop's events on, and add the task's own."""
        yield from events


def train(
    task: Task[C, D, L, R],
    config: C,
    *,
    location: RunLocation | None = None,
    init_from: str | None = None,
) -> Generator[Event, None, R | None]:
    """Train a network from settings to a result.

    Args:
        task: what is trained.
        config: all settings.
        location: where the run goes, or which one to resume.
        init_from: a run (see `dlcli.engine.runs.find_run`) whose weights to start from.

    Yields:
        what happens: the loop's events, notices, and what the task adds.

    Returns:
        The result; None on processes other than the main one.

    Raises:
        ConfigError: the settings contradict each other, the data, or the weights to start from.
        DataError: the data cannot be had.
        Interrupted: a signal stopped it; everything so far is saved.
        RunFailed: the loss is no longer finite, memory is exhausted, or the run folder cannot be
            written.
    """
    location = location or RunLocation()
    resumed = None if location.resume is None else open_unfinished(location.resume)
    begun = resumed is not None and resumed.checkpoint().is_file()
    source = init_from
    if source is None and resumed is not None and not begun:
        source = resumed.record().get("init_from")
    if resumed is not None:  # what changed is named before what no longer fits because of it
        config = task.resumed_config(config, resumed)
        check_unchanged(config, resumed)
    task.check(config, untrained=source is None and not begun)
    if resumed is not None and (done := _recorded_result(task, config, resumed)):
        more = "A larger --epochs goes on from there."
        yield Notice(message=f"{resumed.path} is finished, {plural(done.epochs, 'epoch')}. {more}")
        return dataclasses.replace(done, run=str(resumed.path))  # the folder may have moved
    origin = None if source is None else find_run(source, kind=task.kind)
    notes: list[str] = []
    data = task.load_data(config, resumed=resumed, origin=origin, notice=notes.append)
    if resumed is None:  # "auto" may mean something else when the run is resumed
        config = task.with_data(config, data)
    if origin is not None:  # weights that do not fit are refused before a folder is made
        load_origin(task, config, task.build_network(config, data), origin)
    with open_session(
        kind=task.kind,
        title=task.title(config),
        config=config,
        location=location,
        bf16_pays=task.bf16_pays(config),
    ) as session:
        starts_from = origin if session.state is None else None
        if session.world.is_main:
            if starts_from is not None:
                session.folder.update_record(init_from=str(starts_from.path))
            task.record_start(session, data)
            yield from (Notice(message=note) for note in notes)
            if not session.locked:
                yield Notice(message=UNLOCKED, level="warning")
        learner = task.build_learner(
            config, data, device=session.compute.device, processes=session.world.size
        )
        if starts_from is not None:
            load_origin(task, config, learner.network, starts_from)
        end = yield from _follow(task, config, session, learner, sets=data.sets)
        if end.reason == "interrupted":
            session.finish(status="interrupted")
            raise Interrupted(
                f"Stopped at update {end.step:,}, in epoch {end.epoch + 1}, and saved.",
                hint=f"Go on with `dl {task.kind} train --resume {session.folder.path}`.",
            )
        if not session.world.is_main:
            return None
        result = task.result(session, learner, data=data, end=end)
        session.finish(
            status="stopped" if end.reason == "max-minutes" else "done",
            result=dataclasses.asdict(result),
            signature=result.signature,
            metrics=result.metrics,
        )
        yield Measured(test=task.test_losses(config, result))
        return result


def _recorded_result(task: Task[C, D, L, R], config: C, folder: RunFolder) -> R | None:
    """Return the recorded result of a run with nothing left to do, else None."""
    record = folder.record()
    if record.get("status") != "done":
        return None
    try:
        result = task.read_result(record["result"])
    except (KeyError, TypeError):
        return None
    same_patience = load_yaml(folder.config_file)["loop"].get("patience") == config.loop.patience
    ended = result.reason == "early-stop" and same_patience
    return result if ended or result.epochs >= config.loop.epochs else None


def with_data_name(config: C, name: str) -> C:
    """Return the settings with another name of the data set."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, name=name))


def load_origin(task: Task[C, D, L, R], config: C, network: nn.Module, origin: RunFolder) -> None:
    """Load another run's weights, and nothing else of it.

    Raises:
        ConfigError: it was trained with other settings of the network; the hint names their flags.
        CheckpointError: its weights are of another network all the same.
    """
    saved = load_model(origin, kind=task.kind)
    weights = task.starting_weights(saved.weights, network)
    try:
        load_weights_into(network, weights, source=str(origin.path), hint=task.weights_hint)
    except CheckpointError:
        theirs = saved.config.get("model")
        flags = flags_of_difference(config.model, theirs) if isinstance(theirs, Mapping) else ""
        if not flags:
            raise
        raise ConfigError(
            f"The weights of {origin.path} are those of another network.", hint=f"Add {flags}."
        ) from None


def items_per_s(session: Session, learner: Learner, *, items: int, end: Finished) -> float:
    """Return the speed of a whole training.

    Args:
        session: it.
        learner: what was trained.
        items: images or tokens in an epoch.
        end: its last event.
    """
    updates = -(-learner.steps_per_epoch() // session.config.optim.accumulate)
    return end.step / updates * items / end.train_s if end.train_s else 0.0


def _follow(
    task: Task[C, D, L, R], config: C, session: Session, learner: L, *, sets: Mapping[str, str]
) -> Generator[Event, None, Finished]:
    """Pass on what happens in the training loop; an exhausted memory becomes a sentence."""
    events = session.events(
        learner, criterion=task.criterion(config), keep_epochs=task.keep_epochs(config)
    )
    try:
        for event in task.watch(config, learner, events):
            if isinstance(event, RunStarted):
                event = dataclasses.replace(event, sets=sets)
            yield event
            if isinstance(event, Finished):
                return event
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunFailed(
            f"A batch does not fit into the memory of {session.compute.device}.",
            hint=f"Lower --batch-size {config.loop.batch_size}; with --accumulate raised by the "
            "same factor the updates stay the same.",
        ) from None
    raise RuntimeError("the training loop ended without saying so")


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory has run out."""
    said = str(error).lower()
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (
        isinstance(error, RuntimeError) and any(word in said for word in OUT_OF_MEMORY)
    )


def train_once(
    config: RunConfig,
    *,
    train: Train[R],
    location: RunLocation,
    init_from: str | None = None,
    listeners: Sequence[Listener] = (),
) -> R | None:
    """Train to the end, passing every event to every listener.

    Returns:
        The result; None on processes other than the main one.

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
                try:
                    for listener in listeners:
                        listener(event)
                except Exception as error:  # recorded with the run, whose failure it is
                    events.throw(error)
        except KeyboardInterrupt:
            if run is None:
                raise Interrupted(
                    "Interrupted before the training began.", hint="Start it again."
                ) from None
            raise Interrupted(
                "Interrupted; what was trained is saved as of the last checkpoint.",
                hint=f"Go on with --resume {run}.",
            ) from None


def train_all(
    cells: Mapping[str, RunConfig],
    *,
    train: Train[R],
    location: RunLocation,
    title: str,
    tolerant: bool,
    init_from: str | None = None,
    listeners: Sequence[Listener] = (),
) -> dict[str, R]:
    """Train every cell into a folder of its own under one base folder.

    With `location.resume`, finished cells give their result again, stopped cells are resumed, and
    the others start.

    Args:
        cells: label → settings.
        train: what trains one of them.
        location: the base folder.
        title: its name under `runs/` where none was given.
        tolerant: whether a cell that fails (a learning rate that diverges, say) costs a warning
            and is missing in the results, as in a grid. A failed seed must not: the mean of those
            that remain would be that of a selection.
        init_from: a run whose weights to start from.
        listeners: take every event of every cell.

    Raises:
        RunFailed: a cell failed, or with `tolerant` every cell.
    """
    results: dict[str, R] = {}
    failures: list[RunFailed] = []
    with _base_folder(title, location=location) as base:
        for label, config in cells.items():
            where = _cell_location(base / folder_name(label), location)
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
def _base_folder(title: str, *, location: RunLocation) -> Iterator[Path]:
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


def _cell_location(folder: Path, location: RunLocation) -> RunLocation:
    if location.resume is not None and (folder / "config.yaml").is_file():
        return RunLocation(resume=folder)
    return RunLocation(out=folder, force=location.force)
