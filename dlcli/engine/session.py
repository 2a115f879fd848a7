"""A training from folder to folder: what every `train` command does around its learner.

Opens or makes the run folder, holds its lock, joins the other processes, seeds everything, finds
the checkpoint to go on from, and passes the loop's events through the recorder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcli.engine.checkpoint import load_checkpoint
from dlcli.engine.config import DataclassType, dump_yaml, to_dict
from dlcli.engine.device import Compute, describe_machine, prepare
from dlcli.engine.distributed import PeerLost, World, join_processes, launched_world
from dlcli.engine.events import Event, Finished, RunStarted, StateDue
from dlcli.engine.files import write_whole
from dlcli.engine.learner import Criterion, Learner
from dlcli.engine.loop import Plan, Training
from dlcli.engine.provenance import describe_start
from dlcli.engine.recorder import cut_metrics, record, resume_state
from dlcli.engine.resuming import check_precision, check_unchanged
from dlcli.engine.runs import RunFolder, create_run, open_unfinished
from dlcli.engine.seed import seed_everything
from dlcli.engine.settings import ComputeConfig, LoopConfig, OptimConfig
from dlcli.engine.stopping import StopFlag, ignore_signals


@dataclass(frozen=True, kw_only=True)
class Place:
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
    place: Place,
    bf16_pays: bool,
) -> Iterator[Session]:
    """Open a training session and close it whatever happens.

    Args:
        kind: what the run is of, such as `vae`; checked when it is loaded again.
        title: its short name, such as `vae-conv`.
        config: every setting; saved with the run.
        compute: its part about device, precision, seed and threads.
        place: where the run goes.
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
            kind, title=title, config=config, place=place, world=world, where=where, stack=stack
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
    place: Place,
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
            folder = _main_folder(title, config=config, place=place, where=where, stack=stack)
            if place.resume is not None:
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
    title: str, *, config: DataclassType, place: Place, where: Compute, stack: ExitStack
) -> RunFolder:
    if place.resume is None:
        folder = create_run(title, out=place.out, force=place.force)
        stack.enter_context(folder.locked())
    else:
        folder = open_unfinished(place.resume)
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
