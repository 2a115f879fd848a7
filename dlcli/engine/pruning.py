"""Removing runs, or parts of them, that are no longer needed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcli.engine.runs import RunFolder
from dlcli.errors import RunFailed

WITH_RESULT = ("done", "stopped")
"""How runs end that have a result; `stopped` is at the time limit."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Something that can go: a whole run folder, or a checkpoint in one."""

    path: Path
    reason: str
    size: int
    """Bytes."""


def plan_pruning(
    runs: Sequence[RunFolder], *, keep: int | None, unfinished: bool, epochs: bool
) -> list[Removal]:
    """List what would be removed, without removing anything.

    Args:
        runs: all runs, oldest first.
        keep: how many of the newest finished runs stay; None keeps them all.
        unfinished: whether runs that failed, were interrupted or were killed go.
        epochs: whether the `epoch-*.pt` snapshots of finished runs that stay go.
    """
    finished = [run for run in runs if run.status in WITH_RESULT]
    surplus = finished[: max(0, len(finished) - keep)] if keep is not None else []
    found = [_whole(run, f"beyond the newest {keep}") for run in surplus]
    if unfinished:
        others = [run for run in runs if run not in finished and not run.is_in_use]
        found += [_whole(run, run.status) for run in others]
    if epochs:
        stays = [run for run in finished if run not in surplus]
        snapshots = [path for run in stays for path in sorted(run.checkpoints.glob("epoch-*.pt"))]
        found += [
            Removal(path=path, reason="snapshot", size=path.stat().st_size) for path in snapshots
        ]
    return found


def remove(removals: Sequence[Removal]) -> None:
    """Remove what `plan_pruning` listed, and folders of several runs that are empty then.

    Raises:
        RunFailed: something could not be removed, or is being trained by now.
    """
    for removal in removals:
        try:
            if removal.path.is_dir():
                with RunFolder(removal.path).locked():
                    shutil.rmtree(removal.path)
                with contextlib.suppress(OSError):  # it holds something else
                    removal.path.parent.rmdir()
            else:
                removal.path.unlink(missing_ok=True)
        except OSError as error:
            raise RunFailed(
                f"{removal.path} could not be removed: {error.strerror or error}.",
                hint="Check its permissions.",
            ) from None


def _whole(run: RunFolder, reason: str) -> Removal:
    size = sum(path.lstat().st_size for path in run.path.rglob("*") if path.is_file())
    return Removal(path=run.path, reason=reason, size=size)
