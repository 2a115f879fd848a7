"""Real `dl` processes at a small price: a server imports torch once and forks for every command.

A forked child is a process of its own, with its own memory, signals, exit code and streams: it can
be killed at any moment like any other. Only the imports are shared.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 900.0
"""For what takes a second or ten, but minutes on a machine that many others are using."""
PAUSE_S = "DL_TEST_PAUSE_S"
"""Variable that has a command rest before each update, so that a signal cannot come too late."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command that has ended."""

    code: int
    """Exit code; negative is the signal that ended it."""
    stdout: str
    stderr: str


class Child:
    """A command that runs."""

    def __init__(self, launcher: Launcher, *, pid: int, out: Path, err: Path, trace: Path) -> None:
        self.pid, self._launcher = pid, launcher
        self._out, self._err, self._trace = out, err, trace
        self._code: int | None = None

    def signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Return the exit code if it has ended."""
        if self._code is None:
            self._code = self._launcher.ask(wait=self.pid)
        return self._code

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    @property
    def updates(self) -> list[tuple[int, float]]:
        """The updates it has begun: their number, and when, in seconds of one clock for all."""
        if not self._trace.exists():
            return []
        lines = self._trace.read_text().splitlines()
        return [(int(step), float(when)) for step, when in map(str.split, lines)]

    def wait_for_updates(self, count: int, *, seconds: float = PATIENCE_S) -> None:
        """Wait until it has begun so many updates, or has ended."""
        until = time.monotonic() + seconds
        while len(self.updates) < count and self.poll() is None:
            assert time.monotonic() < until, self.stderr
            time.sleep(0.002)

    def wait(self, *, seconds: float = PATIENCE_S) -> Done:
        """Wait for its end; a command that does not end is killed and fails the test."""
        until = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > until:
                self.signal(signal.SIGKILL)
                raise AssertionError(f"still running after {seconds} s: {self.stderr}")
            time.sleep(0.01)
        assert self._code is not None
        out = self._out.read_text(encoding="utf-8", errors="replace")
        return Done(code=self._code, stdout=out, stderr=self.stderr)


class Launcher:
    """Starts commands: `with Launcher(folder) as launcher: launcher.run(["env", "--json"])`.

    Args:
        folder: where the commands run and what they say is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._started = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.launcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(PATIENCE_S)

    def ask(self, **request: object) -> int | None:
        """Send the server one request and return its answer."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer: int | None = json.loads(self._server.stdout.readline())
        return answer

    def start(self, words: list[str], *, env: Mapping[str, str] | None = None) -> Child:
        """Start `dl WORDS`."""
        self._started += 1
        stem = self.folder / f"{self._started:03d}"
        out, err, trace = (stem.with_suffix(f".{name}") for name in ("out", "err", "trace"))
        pid = self.ask(
            words=words,
            env=dict(env or {}),
            cwd=str(self.folder),
            out=str(out),
            err=str(err),
            trace=str(trace),
        )
        assert pid is not None
        return Child(self, pid=pid, out=out, err=err, trace=trace)

    def run(self, words: list[str], *, env: Mapping[str, str] | None = None) -> Done:
        """Run `dl WORDS` to its end."""
        return self.start(words, env=env).wait()


def serve() -> None:
    """Fork a child for every request, and say how children ended."""
    _import_everything()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                _become(request)
        print(json.dumps(answer), flush=True)


def _become(request: dict[str, Any]) -> None:
    """Turn this forked child into the command; does not return."""
    os.setpgid(0, 0)
    for number, key in ((1, "out"), (2, "err")):
        handle = os.open(request[key], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    handle = os.open(os.devnull, os.O_RDONLY)
    os.dup2(handle, 0)
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    trace_updates(request["trace"], pause_s=float(os.environ.get(PAUSE_S, "0")))
    _leave_out_figures()
    sys.argv = ["dl", *request["words"]]
    from dlcli.cli.app import main

    main()
    sys.exit(0)


def trace_updates(path: str, *, pause_s: float) -> None:
    """Write down the beginning of every update, so that a killed process leaves word of it."""
    from dlcli.engine.loop import Stepper

    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    real = Stepper.update

    def update(self: Stepper, batches: Any, *, step: int, total_steps: int) -> Any:
        os.write(handle, f"{step} {time.perf_counter()}\n".encode())
        time.sleep(pause_s)
        return real(self, batches, step=step, total_steps=total_steps)

    Stepper.update = update  # type: ignore[method-assign]


def _leave_out_figures() -> None:
    """Draw nothing at the end, which would take longer than these trainings."""
    from dlcli.display import runs as run_figures

    for name in ("draw_curves", "draw_snapshots"):
        setattr(run_figures, name, lambda *_args, **_given: None)


def _import_everything() -> None:
    import pydantic
    import rich.live
    import torch._dynamo

    import dlcli.cli.nmt
    import dlcli.cli.vae
    import dlcli.display.runs
    import dlcli.engine.trainer
    import dlcli.nmt.training
    import dlcli.vae.training

    del pydantic, rich, torch, dlcli


if __name__ == "__main__":
    serve()
