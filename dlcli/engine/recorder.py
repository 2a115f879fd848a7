"""Writing a run down: metrics lines and checkpoints, in the order that makes resuming exact."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.engine.events import Evaluated, Event, Saved, StateDue
from dlcli.engine.runs import RunFolder, finite
from dlcli.engine.stopping import StopFlag
from dlcli.errors import CheckpointError, RunFailed


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
