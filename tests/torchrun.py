"""Commands under PyTorch's own launcher, and their processes.

`python -m tests.torchrun WORDS` is `dl WORDS` with its updates and the threads that it leaves
written down, slower or failing on demand.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.launcher import PAUSE_S, ROOT, trace_updates

TRACE = "DL_TEST_TRACE"
"""Variable that names the file in which rank 0 writes down its updates."""
LEFT = "DL_TEST_LEFT"
"""Variable that names the file in which every process writes down its last threads."""
FAILING = "DL_TEST_FAILING"
"""Variable that names the rank whose third update fails."""
RESTARTS = "TORCHELASTIC_RESTART_COUNT"

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="finds the workers in /proc"
)


def start(
    words: list[str], *options: str, module: str = "dlcli", **environment: str
) -> subprocess.Popen[str]:
    """Start `dl WORDS --json` in two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*launcher, "--nproc-per-node", "2", *options, "-m", module, *words, "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def workers(launcher: int) -> dict[int, int]:
    """Return rank → process of the launcher's children; none where there is no /proc."""
    found = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            ranks = [int(row[5:]) for row in environment if row.startswith(b"RANK=")]
            found |= {rank: int(child) for rank in ranks}
    return found


def kill_all(process: subprocess.Popen[str]) -> None:
    """End a launcher and its workers, which have sessions of their own, at one moment."""
    if process.poll() is None:
        for pid in [process.pid, *workers(process.pid).values()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.communicate()


def _write_threads() -> None:
    """Write down the threads of the process group that are still there when Python ends."""
    tasks = Path("/proc/self/task").glob("*/comm")
    gloo = [name for name in (task.read_text().strip() for task in tasks) if "gloo" in name]
    row = f"rank {os.environ['RANK']}, attempt {os.environ[RESTARTS]}: {' '.join(gloo) or 'none'}"
    with Path(os.environ[LEFT]).open("a") as file:
        file.write(row + "\n")


def _fail_at_update(step: int) -> None:
    from dlcli.engine.loop import Stepper

    real = Stepper.update

    def update(self: Stepper, *given: Any, **named: Any) -> Any:
        if named["step"] >= step:
            raise RuntimeError("this update fails")
        return real(self, *given, **named)

    Stepper.update = update  # type: ignore[method-assign]


def main() -> None:
    """Run `dl`; only a first attempt is slow."""
    from dlcli.cli.app import main

    if os.environ.get(FAILING) == os.environ["RANK"]:
        _fail_at_update(3)
    if LEFT in os.environ:
        atexit.register(_write_threads)  # the first to register is the last to be called
    first = os.environ.get(RESTARTS, "0") == "0"
    path = os.environ.get(TRACE, os.devnull) if os.environ.get("RANK") == "0" else os.devnull
    trace_updates(path, pause_s=float(os.environ.get(PAUSE_S, "0")) if first else 0.0)
    main()


if __name__ == "__main__":
    main()
