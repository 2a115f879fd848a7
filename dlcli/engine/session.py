"""A training from folder to folder: what every `train` command does around its learner.

Opens or makes the run folder, holds its lock, joins the other processes, seeds everything, finds
the checkpoint to go on from, and passes the loop's events through the recorder.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.engine.config import (
    DataclassType,
    dump_yaml,
    flags_of_difference,
    keys,
    load_yaml,
    to_dict,
)
from dlcli.engine.device import Compute, describe_machine, prepare
from dlcli.engine.distributed import PeerLost, World, join_processes, launched_world
from dlcli.engine.events import Evaluated, Event, Finished, RunStarted, Saved, StateDue
from dlcli.engine.files import write_whole
from dlcli.engine.loop import Criterion, Learner, Plan, Training
from dlcli.engine.runs import RunFolder, create_run, describe_start, finite, open_unfinished
from dlcli.engine.seed import seed_everything
from dlcli.engine.settings import ComputeConfig, LoopConfig, OptimConfig
from dlcli.engine.stopping import StopFlag, ignore_signals
from dlcli.errors import CheckpointError, ConfigError, RunFailed

# -- Writing a run down: metrics lines and checkpoints, in the order that makes resuming exact


def record(
    events: Iterable[Event], *, run: RunFolder, kind: str, config: Mapping[str, Any], stop: StopFlag
) -> Iterator[Event]:
    """Pass events on, saving each `StateDue` and writing each `Evaluated`.

    Only the main process records. A checkpoint notes how long metrics.jsonl was when it was taken;
    `cut_metrics` cuts the file back to that, so no line appears twice.

    Yields:
        every event except `StateDue`, in whose place a `Saved` comes.
    """
    for event in events:
        if isinstance(event, StateDue):
            with stop.deferring():
                path = _save(event, run=run, kind=kind, config=config)
            yield Saved(path=path, step=event.step)
            continue
        if isinstance(event, Evaluated):
            with stop.deferring():
                _append(event, path=run.metrics_file)
        yield event


def resume_state(run: RunFolder, *, kind: str) -> dict[str, Any] | None:
    """Load the newest checkpoint of a run, and change nothing: it may be of another network.

    Returns:
        the checkpoint's content, or None where the run was stopped before its first checkpoint; it
        then starts over.

    Raises:
        CheckpointError: it is damaged, of something else, or holds no run.
    """
    path = run.checkpoint("last")
    state = load_checkpoint(path, kind=kind) if path.exists() else None
    keep = 0 if state is None else state.get("metrics_bytes")
    if not isinstance(keep, int) or keep < 0:
        raise CheckpointError(
            f"The checkpoint {path} does not say how far the metrics had come.",
            hint="It is not the checkpoint of a run; use its weights with --init-from.",
        )
    return state


def cut_metrics(run: RunFolder, state: Mapping[str, Any] | None) -> None:
    """Cut metrics.jsonl back to a checkpoint that is gone on with, or to nothing.

    Where someone shortened the file, its next line will start on its own.
    """
    path = run.metrics_file
    if not path.exists():
        return
    keep = 0 if state is None else int(state["metrics_bytes"])
    if path.stat().st_size > keep:
        os.truncate(path, keep)
    with path.open("rb+") as file:
        if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n":
            file.write(b"\n")


def _save(event: StateDue, *, run: RunFolder, kind: str, config: Mapping[str, Any]) -> Path:
    path = run.checkpoint(event.name)
    size = run.metrics_file.stat().st_size if run.metrics_file.exists() else 0
    content = {"config": dict(config), "metrics_bytes": size, **event.state}
    save_checkpoint(path, content, kind=kind)
    return path


def _append(event: Evaluated, *, path: Path) -> None:
    row = {"epoch": event.epoch, "step": event.step, **event.metrics}
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite(row), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunFailed(
            f"{path} could not be written: {error.strerror or error}.",
            hint="Free some space and go on with --resume; the last checkpoint is good.",
        ) from None


# -- Going on with a run: what must be as it was, and what may be chosen anew

MAY_CHANGE = (
    "loop.epochs",
    "loop.max_minutes",
    "loop.checkpoint_minutes",
    "loop.patience",
    "compute.device",
    "compute.threads",
    "data.offline",
    "snapshots",
)
"""Settings that a resumed run may take anew; any other must be as it was."""


def check_unchanged(config: DataclassType, folder: RunFolder) -> None:
    """Refuse to go on with a run under other settings than its own.

    Raises:
        ConfigError: names the first setting that differs and may not.
    """
    saved, given = load_yaml(folder.config_file), to_dict(config)
    for key in keys(type(config)):
        if key.path in MAY_CHANGE:
            continue
        old, new = _leaf(saved, key.path), _leaf(given, key.path)
        if key.path == "compute.precision" and new == folder.record().get("precision"):
            continue  # what "auto" meant
        if old is not _MISSING and old != new:
            raise ConfigError(
                f"The run {folder.path} was trained with {key.path} = {old}, not {new}.",
                hint="Resume it without changing that, or start another run with --init-from.",
            )


def check_precision(where: Compute, folder: RunFolder) -> None:
    """Refuse to go on in another precision because "auto" means another one on this machine."""
    before = folder.record().get("precision", where.precision)
    if before != where.precision:
        raise ConfigError(
            f"The run {folder.path} was trained in {before}, and compute.precision = auto means "
            f"{where.precision} here.",
            hint=f"Add --precision {before}.",
        )


def refuse_other_network(
    model: DataclassType | None, saved: Mapping[str, Any], *, run: RunFolder
) -> None:
    """Say with which flags a run's weights would fit, where its settings tell.

    Args:
        model: what the network that they do not fit was built from.
        saved: all settings of the run.
        run: it.

    Raises:
        ConfigError: they tell.
    """
    theirs = saved.get("model")
    if model is None or not isinstance(theirs, Mapping):
        return
    if flags := flags_of_difference(model, theirs):
        raise ConfigError(
            f"The weights of {run.path} are those of another network.", hint=f"Add {flags}."
        )


class Result(Protocol):
    """What a training leaves in run.json, as far as resuming looks at it."""

    @property
    def epochs(self) -> int:
        """Epochs trained."""

    @property
    def reason(self) -> str:
        """Why it ended: `done`, `early-stop`, …"""


R = TypeVar("R", bound=Result)


def recorded_result(
    config: DataclassType, folder: RunFolder, *, read: Callable[[Mapping[str, Any]], R]
) -> R | None:
    """Return the recorded result of a run with nothing left to do, else None.

    Args:
        config: with `loop.epochs` and `loop.patience`, as it is to be resumed.
        folder: the run.
        read: makes a result of its fields.

    Raises:
        ConfigError: see `check_unchanged`.
    """
    record = folder.record()
    if record.get("status") != "done":
        return None
    check_unchanged(config, folder)
    try:
        result = read(record["result"])
    except (KeyError, TypeError):
        return None
    loop = to_dict(config)["loop"]
    same_patience = load_yaml(folder.config_file)["loop"].get("patience") == loop["patience"]
    ended = result.reason == "early-stop" and same_patience
    return result if ended or result.epochs >= loop["epochs"] else None


_MISSING = object()


def _leaf(data: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(data, Mapping) or part not in data:
            return _MISSING
        data = data[part]
    return data


@dataclass(frozen=True, kw_only=True)
class RunLocation:
    """Where a run goes: a new folder (`out`, or one named by date), or one to go on with."""

    out: Path | None = None
    resume: Path | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Session:
    """An open training session of this process."""

    kind: str
    title: str
    config: DataclassType
    folder: RunFolder
    """Written to by the main process only."""
    world: World
    compute: Compute
    stop: StopFlag
    state: dict[str, Any] | None
    """The checkpoint to go on from."""

    def events(
        self,
        learner: Learner,
        *,
        optim: OptimConfig,
        loop: LoopConfig,
        compute: ComputeConfig,
        criterion: Criterion | None = None,
        keep_epochs: tuple[int, ...] = (),
    ) -> Iterator[Event]:
        """Train `learner` (its network on the session's device), recording on the main process."""
        plan = Plan(
            optim=optim,
            loop=loop,
            compute=self.compute,
            seed=compute.seed,
            world=self.world,
            compiled=compute.compile,
            criterion=criterion or Criterion(),
            keep_epochs=keep_epochs,
        )
        training = Training(learner, plan=plan, stop=self.stop, state=self.state)
        if self.world.is_main:
            cut_metrics(self.folder, self.state)
            yield RunStarted(
                run=self.folder.path,
                title=self.title,
                epochs=loop.epochs,
                steps_per_epoch=training.updates_per_epoch,
                step=training.position.step,
                unit=learner.unit,
            )
            events: Iterator[Event] = record(
                training.events(),
                run=self.folder,
                kind=self.kind,
                config=to_dict(self.config),
                stop=self.stop,
            )
        else:
            events = (event for event in training.events() if not isinstance(event, StateDue))
        yield from events

    def finish(self, *, status: str, **fields: object) -> None:
        """Write the outcome into run.json (main process only)."""
        if self.world.is_main:
            self.folder.update_record(status=status, **fields)


@contextmanager
def open_session(
    *,
    kind: str,
    title: str,
    config: DataclassType,
    compute: ComputeConfig,
    location: RunLocation,
    bf16_pays: bool,
) -> Iterator[Session]:
    """Open a training session and close it whatever happens.

    Args:
        kind: what the run is of, such as `vae`; checked when it is loaded again.
        title: its short name, such as `vae-conv`.
        config: every setting; saved with the run.
        compute: its part about device, precision, seed and threads.
        location: where the run goes.
        bf16_pays: see `dlcli.engine.device.choose_precision`.
    """
    world = launched_world()
    local_rank = world.local_rank if world.size > 1 else None
    where = prepare(compute, bf16_pays=bf16_pays, local_rank=local_rank)
    stop = StopFlag()
    with ExitStack() as stack:
        stack.enter_context(stop.watching())
        if not world.is_main:  # it waits for the main process, which decides for all
            stack.enter_context(stop.deferring())
        join_processes(world, device=where.device)
        folder, state = _open_folder(
            kind,
            title=title,
            config=config,
            location=location,
            world=world,
            where=where,
            stack=stack,
        )
        seed_everything(compute.seed)
        if world.is_main:
            _note_start(folder, kind=kind, title=title, compute=compute, where=where, world=world)
        session = Session(
            kind=kind,
            title=title,
            config=config,
            folder=folder,
            world=world,
            compute=where,
            stop=stop,
            state=state,
        )
        try:
            yield session
        except BaseException as error:
            if world.size > 1:
                ignore_signals()
            lost = _lost_peer(session, error)
            _note_failure(session, lost or error)
            if lost is not None:
                raise lost from error
            raise


def follow(events: Iterable[Event], *listeners: Callable[[Event], None]) -> Finished | None:
    """Tell every event to every listener; return the last `Finished`."""
    end: Finished | None = None
    for event in events:
        for listener in listeners:
            listener(event)
        if isinstance(event, Finished):
            end = event
    return end


def _open_folder(
    kind: str,
    *,
    title: str,
    config: DataclassType,
    location: RunLocation,
    world: World,
    where: Compute,
    stack: ExitStack,
) -> tuple[RunFolder, dict[str, Any] | None]:
    """Open the folder on the main process and tell the others; load the state everywhere."""
    failure: Exception | None = None
    folder: RunFolder | None = None
    state: dict[str, Any] | None = None
    if world.is_main:
        try:
            folder = _main_folder(title, config=config, location=location, where=where, stack=stack)
            if location.resume is not None:
                state = resume_state(folder, kind=kind)
        except Exception as error:
            failure = error
    path, goes_on, failure = world.share((folder and folder.path, state is not None, failure))
    if failure is not None:
        raise failure
    folder = RunFolder(path)
    if goes_on and not world.is_main:
        state = load_checkpoint(folder.checkpoint(), kind=kind)
    return folder, state


def _main_folder(
    title: str, *, config: DataclassType, location: RunLocation, where: Compute, stack: ExitStack
) -> RunFolder:
    if location.resume is None:
        folder = create_run(title, out=location.out, force=location.force)
        stack.enter_context(folder.locked())
    else:
        folder = open_unfinished(location.resume)
        stack.enter_context(folder.locked())
        check_unchanged(config, folder)
        check_precision(where, folder)
        folder.sweep()
    write_whole(folder.config_file, dump_yaml(config).encode())
    folder.mark_newest()
    return folder


def _note_start(
    folder: RunFolder,
    *,
    kind: str,
    title: str,
    compute: ComputeConfig,
    where: Compute,
    world: World,
) -> None:
    """Say in run.json how the run began; each time it is gone on with is added to `resumed`."""
    start = describe_start(kind=kind, title=title, seed=compute.seed, machine=describe_machine())
    before = folder.record()
    if "started" in before:
        again = {name: start.pop(name) for name in ("started", "command")}
        start["resumed"] = [*before.get("resumed", []), again]
    folder.update_record(
        **start,
        device=str(where.device),
        precision=where.precision,
        threads=where.threads,
        processes=world.size,
        error=None,
    )


def _lost_peer(session: Session, error: BaseException) -> PeerLost | None:
    """Turn what torch says when another process has gone into a sentence."""
    words = ("gloo", "nccl", "connection", "socket")
    said = str(error).lower()
    lost = isinstance(error, RuntimeError) and any(word in said for word in words)
    if session.world.size == 1 or not lost:
        return None
    return PeerLost(
        "Another process of this training has ended or cannot be reached.",
        hint=f"Its own message says why; go on with --resume {session.folder.path}.",
    )


def _note_failure(session: Session, error: BaseException) -> None:
    """Say in run.json how the session ended; a disk that is full must not hide the reason."""
    stopped = isinstance(error, KeyboardInterrupt | GeneratorExit) or session.stop.requested
    with session.stop.deferring(), contextlib.suppress(Exception):
        session.finish(status="interrupted" if stopped else "failed", error=str(error))
