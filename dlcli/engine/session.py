"""A training session: from an empty run folder, or a checkpoint, to recorded events.

`open_session` makes or opens the run folder, holds its lock, joins the other processes, seeds
everything, and loads the checkpoint to resume from. `Session.events` runs the training loop and
records what it yields: checkpoints first, then lines of metrics, in the order that makes resuming
exact.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.engine.config import DataclassType, dump_yaml, load_yaml, to_dict
from dlcli.engine.device import (
    Compute,
    bf16_is_native,
    choose_device,
    describe_machine,
    prepare,
)
from dlcli.engine.distributed import PeerLost, World, join_processes, launched_world
from dlcli.engine.events import CheckpointDue, Evaluated, Event, RunStarted, Saved
from dlcli.engine.files import write_whole
from dlcli.engine.loop import Criterion, Learner, Plan, Training
from dlcli.engine.runs import RunFolder, create_run, finite, leaves, open_unfinished
from dlcli.engine.seed import seed_everything
from dlcli.engine.settings import RunConfig
from dlcli.engine.stopping import StopFlag, ignore_signals
from dlcli.errors import CheckpointError, ConfigError, RunFailed

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
"""Settings that may change when a run is resumed; all others must be as they were."""


@dataclass(frozen=True, kw_only=True)
class RunLocation:
    """Where a run goes: a new folder (`out`, or one named by date), or a run to resume."""

    out: Path | None = None
    resume: Path | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Session:
    """An open training session of this process."""

    kind: str
    title: str
    config: RunConfig
    folder: RunFolder
    """Written to by the main process only."""
    world: World
    compute: Compute
    stop: StopFlag
    state: dict[str, Any] | None
    """The checkpoint to resume from."""
    locked: bool
    """Whether a second training is kept out of the folder."""

    def events(
        self,
        learner: Learner,
        *,
        criterion: Criterion | None = None,
        keep_epochs: tuple[int, ...] = (),
    ) -> Iterator[Event]:
        """Train `learner` (its network on the session's device), recording on the main process."""
        config = self.config
        plan = Plan(
            optim=config.optim,
            loop=config.loop,
            compute=self.compute,
            seed=config.compute.seed,
            world=self.world,
            compiled=config.compute.compile,
            criterion=criterion or Criterion(),
            keep_epochs=keep_epochs,
        )
        training = Training(learner, plan=plan, stop=self.stop, state=self.state)
        if not self.world.is_main:
            yield from (
                event for event in training.events() if not isinstance(event, CheckpointDue)
            )
            return
        cut_metrics(self.folder, self.state)
        yield RunStarted(
            run=self.folder.path,
            title=self.title,
            data=str(config.data.name),
            epochs=config.loop.epochs,
            steps_per_epoch=training.updates_per_epoch,
            step=training.position.step,
            unit=learner.unit,
        )
        yield from record(
            training.events(),
            run=self.folder,
            kind=self.kind,
            config=to_dict(config),
            stop=self.stop,
        )

    @property
    def precision(self) -> str:
        """In which the run was trained, `bf16+fp32` where it was resumed in another."""
        return str(self.folder.record().get("precision", self.compute.precision))

    def finish(self, *, status: str, **fields: object) -> None:
        """Write the outcome into run.json (main process only)."""
        if self.world.is_main:
            self.folder.update_record(status=status, **fields)


@contextmanager
def open_session(
    *, kind: str, title: str, config: RunConfig, location: RunLocation, bf16_pays: bool
) -> Iterator[Session]:
    """Open a training session and close it whatever happens.

    Args:
        kind: what the run is of, such as `vae`; checked when it is loaded again.
        title: its short name, such as `vae-conv`.
        config: every setting; saved with the run.
        location: where the run goes.
        bf16_pays: see `dlcli.engine.device.choose_precision`.
    """
    world = launched_world()
    local_rank = world.local_rank if world.size > 1 else None
    place = config.compute
    if location.resume is not None and not place.threads:  # as many as before: the same bits
        place = replace(place, threads=recorded_threads(RunFolder(location.resume)))
    compute = prepare(place, bf16_pays=bf16_pays, local_rank=local_rank)
    stop = StopFlag()
    with ExitStack() as stack:
        stack.enter_context(stop.watching())
        if not world.is_main:  # it waits for the main process, which decides for all
            stack.enter_context(stop.deferring())
        join_processes(world, device=compute.device)

        def open_here() -> tuple[RunFolder, bool, bool]:
            folder, locked = _open_folder(
                title, config=config, location=location, compute=compute, stack=stack
            )
            begun = location.resume is not None and folder.checkpoint().exists()
            return folder, locked, begun

        folder, locked, begun = world.from_main(open_here)
        state = resume_state(folder, kind=kind) if begun else None
        seed_everything(config.compute.seed)
        session = Session(
            kind=kind,
            title=title,
            config=config,
            folder=folder,
            world=world,
            compute=compute,
            stop=stop,
            state=state,
            locked=locked,
        )
        if world.is_main:
            _record_start(session)
        try:
            yield session
        except BaseException as error:
            if world.size > 1:
                ignore_signals()
            lost = _lost_peer(session, error)
            _record_failure(session, lost or error)
            if lost is not None:
                raise lost from error
            raise


def _open_folder(
    title: str, *, config: RunConfig, location: RunLocation, compute: Compute, stack: ExitStack
) -> tuple[RunFolder, bool]:
    """Make or open the run folder, hold its lock if it can be held, and save the settings."""
    if location.resume is None:
        folder = create_run(title, out=location.out, force=location.force)
        locked = stack.enter_context(folder.locked())
        folder.update_record(status="running")
    else:
        folder = open_unfinished(location.resume)
        locked = stack.enter_context(folder.locked())
        check_unchanged(config, folder)
        check_precision(config, compute, folder)
        folder.sweep()
    write_whole(folder.config_file, dump_yaml(config).encode())
    folder.mark_newest()
    return folder, locked


def check_unchanged(config: DataclassType, folder: RunFolder) -> None:
    """Refuse to resume a run with other settings than its own.

    Raises:
        ConfigError: names the first setting that differs and may not.
    """
    saved, given = leaves(load_yaml(folder.config_file)), leaves(to_dict(config))
    for path, new in given.items():
        old = saved.get(path, new)
        if path in MAY_CHANGE or old == new:
            continue
        if path == "compute.precision" and _may_continue_in(str(new), folder, config):
            continue
        raise ConfigError(
            f"The run {folder.path} was trained with {path} = {old}, not {new}.",
            hint="Resume it without changing that, or start another run with --init-from.",
        )


def _may_continue_in(precision: str, folder: RunFolder, config: Any) -> bool:
    """Say whether that is what `auto` meant, or fp32 where bf16 cannot be had any more."""
    last = last_precision(folder)
    native = bf16_is_native(choose_device(config.compute.device))
    return precision == last or (last == "bf16" and precision == "fp32" and not native)


def recorded_threads(folder: RunFolder) -> int:
    """Return how many threads a run was last trained with; 0 where there are not as many cores."""
    found = folder.record().get("threads")
    return found if isinstance(found, int) and 0 < found <= (os.cpu_count() or 1) else 0


def last_precision(folder: RunFolder) -> str | None:
    """Return in which precision a run was last trained; `bf16+fp32` was begun in another."""
    found = folder.record().get("precision")
    return found.rpartition("+")[2] if isinstance(found, str) else None


def check_precision(config: RunConfig, compute: Compute, folder: RunFolder) -> None:
    """Refuse to resume in another precision because "auto" means another one on this machine."""
    before = last_precision(folder)
    if config.compute.precision == "auto" and before not in (None, compute.precision):
        possible = bf16_is_native(compute.device) or before == "fp32"
        raise ConfigError(
            f"The run {folder.path} was trained in {before}, and compute.precision = auto means "
            f"{compute.precision} here.",
            hint=f"Add --precision {before}."
            if possible
            else "Add --precision fp32 to go on in fp32: bf16 is slow on this machine.",
        )


def resume_state(run: RunFolder, *, kind: str) -> dict[str, Any] | None:
    """Load the newest checkpoint of a run, and change nothing: it may be of another network.

    Returns:
        The checkpoint's content, or None where the run was stopped before its first checkpoint; it
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


def _record_start(session: Session) -> None:
    """Write into run.json how the run began; each resumption is added to `resumed`."""
    start: dict[str, Any] = {
        "kind": session.kind,
        "title": session.title,
        "status": "running",
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": session.config.compute.seed,
        "machine": describe_machine(),
        "git": git_commit(),
    }
    before, precision = session.folder.record(), session.compute.precision
    if last_precision(session.folder) not in (None, precision):
        start["precision"] = f"{before['precision']}+{precision}"
    elif "precision" not in before:
        start["precision"] = precision
    if "started" in before:
        again = {name: start.pop(name) for name in ("started", "command")}
        start["resumed"] = [*before.get("resumed", []), again]
    session.folder.update_record(
        **start,
        device=str(session.compute.device),
        threads=session.compute.threads,
        processes=session.world.size,
        error=None,
    )


def git_commit() -> str | None:
    """Return the commit of the working folder, if it is a git checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _lost_peer(session: Session, error: BaseException) -> PeerLost | None:
    """Turn torch's error into a sentence where another process has ended."""
    words = ("gloo", "nccl", "connection", "socket")
    said = str(error).lower()
    lost = isinstance(error, RuntimeError) and any(word in said for word in words)
    if session.world.size == 1 or not lost:
        return None
    return PeerLost(
        "Another process of this training has ended or cannot be reached.",
        hint=f"Its own message says why; go on with --resume {session.folder.path}.",
    )


def _record_failure(session: Session, error: BaseException) -> None:
    """Write into run.json how the session ended; a full disk must not hide the reason."""
    stopped = isinstance(error, KeyboardInterrupt | GeneratorExit) or session.stop.requested
    with session.stop.deferring(), contextlib.suppress(Exception):
        session.finish(status="interrupted" if stopped else "failed", error=str(error))


def cut_metrics(run: RunFolder, state: Mapping[str, Any] | None) -> None:
    """Cut metrics.jsonl back to where it was when a checkpoint was taken, or to nothing.

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


def record(
    events: Iterable[Event], *, run: RunFolder, kind: str, config: Mapping[str, Any], stop: StopFlag
) -> Iterator[Event]:
    """Pass events on, saving each `CheckpointDue` and writing each `Evaluated`.

    A checkpoint notes how long metrics.jsonl was when it was taken; `cut_metrics` cuts the file
    back to that, so no line appears twice.

    Yields:
        every event, with a `Saved` in place of each `CheckpointDue`.
    """
    for event in events:
        if isinstance(event, CheckpointDue):
            with stop.deferring():
                path = run.checkpoint(event.name)
                size = run.metrics_file.stat().st_size if run.metrics_file.exists() else 0
                content = {"config": dict(config), "metrics_bytes": size, **event.state}
                save_checkpoint(path, content, kind=kind)
            yield Saved(path=path, step=event.step)
            continue
        if isinstance(event, Evaluated):
            with stop.deferring():
                _append(event, path=run.metrics_file)
        yield event


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
