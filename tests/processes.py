"""Real `dl` processes: forked after the slow imports, or two of them under PyTorch's own launcher.

A forked child is a process of its own, with its own memory, signals, exit code and streams: it can
be killed at any moment like any other. Only the imports are shared. `python -m tests.processes
WORDS` is `dl WORDS` for torchrun. Both do what the variables below ask for.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 900.0
"""For what takes a second or ten, but minutes on a machine that many others are using."""

TRACE = "DL_TEST_TRACE"
"""Variable that names the file in which rank 0 writes down its updates."""
PAUSE_S = "DL_TEST_PAUSE_S"
"""Variable that has a first attempt rest before each update: a signal cannot come too late."""
FAILING = "DL_TEST_FAILING"
"""Variable that names the rank whose third update fails."""
LEFT = "DL_TEST_LEFT"
"""Variable that names the file in which every process writes down its last threads."""
RESTARTS = "TORCHELASTIC_RESTART_COUNT"

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        *("pydantic", "rich.live", "torch._dynamo", "dlcli.cli.nmt", "dlcli.cli.vae"),
        *("dlcli.display.runs", "dlcli.nmt.training", "dlcli.vae.training"),
    ]
)

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="finds the workers in /proc"
)


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command that has ended."""

    code: int
    """Exit code; negative is the signal that ended it."""
    stdout: str
    stderr: str


class Launcher:
    """Starts commands: `Launcher(folder).run(["env", "--json"])`.

    Args:
        folder: where the commands run and what they say is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._started = folder, 0

    def start(self, words: list[str], *, env: Mapping[str, str] | None = None) -> Child:
        """Start `dl WORDS`."""
        self._started += 1
        return Child(words, stem=self.folder / f"{self._started:03d}", env=env or {})

    def start_two(self, words: list[str]) -> list[Child]:
        """Start `dl WORDS` in two processes of one training."""
        return [self.start(words, env=rank) for rank in two_ranks()]

    def run(self, words: list[str], *, env: Mapping[str, str] | None = None) -> Done:
        """Run `dl WORDS` to its end."""
        return self.start(words, env=env).wait()


class Child:
    """A command that runs, in the folder of `stem`."""

    def __init__(self, words: list[str], *, stem: Path, env: Mapping[str, str]) -> None:
        self._out, self._err, self._trace = (
            stem.with_suffix(f".{name}") for name in ("out", "err", "trace")
        )
        env = {TRACE: str(self._trace), **env}
        files = {1: self._out, 2: self._err}
        for path in files.values():
            path.write_bytes(b"")  # a child may be killed before it has opened them
        self._process = FORKED.Process(target=_become, args=(words, stem.parent, files, env))
        self._process.start()

    def signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self._process.is_alive():
            assert self._process.pid is not None
            os.kill(self._process.pid, number)

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    @property
    def updates(self) -> list[tuple[int, float]]:
        """The updates it has begun: their number, and when, in seconds of one clock for all."""
        return read_trace(self._trace)

    def wait_for_updates(self, count: int) -> None:
        """Wait until it has begun so many updates, or has ended."""
        until = time.monotonic() + PATIENCE_S
        while len(self.updates) < count and self._process.is_alive():
            assert time.monotonic() < until, self.stderr
            time.sleep(0.002)

    def wait(self) -> Done:
        """Wait for its end; a command that does not end is killed and fails the test."""
        self._process.join(PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            raise AssertionError(f"still running after {PATIENCE_S} s: {self.stderr}")
        assert self._process.exitcode is not None
        out = self._out.read_text(encoding="utf-8", errors="replace")
        return Done(code=self._process.exitcode, stdout=out, stderr=self.stderr)


def two_ranks() -> list[dict[str, str]]:
    """Return the variables that torchrun would set in two processes of one training."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**common, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]


def read_trace(path: Path) -> list[tuple[int, float]]:
    """Return the updates that a process has begun, and when."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(step), float(when)) for step, when in map(str.split, lines)]


def torchrun(
    words: list[str], *options: str, module: str = "tests.processes", **environment: str
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
    """Return rank → process of a torchrun's children; none where there is no /proc."""
    found = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            ranks = [int(row[5:]) for row in environment if row.startswith(b"RANK=")]
            found |= {rank: int(child) for rank in ranks}
    return found


def kill_all(process: subprocess.Popen[str]) -> None:
    """End a torchrun and its workers, which have sessions of their own, at one moment."""
    if process.poll() is None:
        for pid in [process.pid, *workers(process.pid).values()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.communicate()


def _become(words: list[str], cwd: Path, files: dict[int, Path], env: dict[str, str]) -> None:
    """Turn this forked child into the command."""
    for number, path in files.items():
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(env)
    os.chdir(cwd)
    _leave_out_figures()
    sys.argv = ["dl", *words]
    main()


def _leave_out_figures() -> None:
    """Draw nothing at the end, which would take longer than these trainings."""
    from dlcli.display import runs as run_figures

    for name in ("draw_curves", "draw_snapshots"):
        setattr(run_figures, name, lambda *_args, **_given: None)


def main() -> None:
    """Run `dl`, watched."""
    from dlcli.cli.app import main as dl

    if LEFT in os.environ:
        atexit.register(_write_threads)  # the first to register is the last to be called
    _watch_updates()
    dl()


def _watch_updates() -> None:
    """Write down the beginning of every update, so that a killed process leaves word of it."""
    from dlcli.engine.loop import Stepper

    rank, first = os.environ.get("RANK", "0"), os.environ.get(RESTARTS, "0") == "0"
    path = os.environ.get(TRACE, os.devnull) if rank == "0" else os.devnull
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    pause_s = float(os.environ.get(PAUSE_S, "0")) if first else 0.0
    real = Stepper.update

    def update(self: Stepper, batches: Any, *, step: int, total_steps: int) -> Any:
        if os.environ.get(FAILING) == rank and step >= 3:
            raise RuntimeError("this update fails")
        os.write(handle, f"{step} {time.perf_counter()}\n".encode())
        time.sleep(pause_s)
        return real(self, batches, step=step, total_steps=total_steps)

    Stepper.update = update  # type: ignore[method-assign]


def _write_threads() -> None:
    """Write down the threads of the process group that are still there when Python ends."""
    tasks = Path("/proc/self/task").glob("*/comm")
    gloo = [name for name in (task.read_text().strip() for task in tasks) if "gloo" in name]
    row = f"rank {os.environ['RANK']}, attempt {os.environ[RESTARTS]}: {' '.join(gloo) or 'none'}"
    with Path(os.environ[LEFT]).open("a") as file:
        file.write(row + "\n")


if __name__ == "__main__":
    main()
