"""Where a run came from: the command line, the versions, the machine, the commit."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping


def describe_start(
    *, kind: str, title: str, seed: int, machine: Mapping[str, object]
) -> dict[str, object]:
    """Return what run.json says before training: the command line, versions, device, git commit."""
    return {
        "kind": kind,
        "title": title,
        "status": "running",
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": seed,
        "machine": dict(machine),
        "git": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the commit of the working folder, if it is a git checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
