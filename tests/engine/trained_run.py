"""A run that looks trained, for tests that find and list runs."""

from __future__ import annotations

import os
from pathlib import Path

from dlcli.engine.runs import RunFolder, create_run


def trained_run(path: Path, *, kind: str = "vae", at: int | None = None) -> RunFolder:
    """Make a run with a record and a checkpoint, its config written at a given second."""
    run = create_run("toy", out=path, force=False)
    run.config_file.write_text("epochs: 1\n")
    run.update_record(kind=kind, status="done")
    run.checkpoint().write_bytes(b"weights")
    if at is not None:
        os.utime(run.config_file, (at, at))
    return run
