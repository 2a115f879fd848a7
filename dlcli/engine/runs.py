"""Run folders: one training's configuration, record, metrics, checkpoints and figures."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dlcli.engine.files import write_whole
from dlcli.errors import RunFailed, UsageFault, nearest

RUNS = Path("runs")


@dataclass(frozen=True)
class RunFolder:
    """A run's folder on disk; its layout is section 5 of the design."""

    path: Path

    @property
    def config_file(self) -> Path:
        """Every value in force; loads back with `--config`."""
        return self.path / "config.yaml"

    @property
    def record_file(self) -> Path:
        """Command, versions, device, signature and final metrics."""
        return self.path / "run.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON object an evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def figures(self) -> Path:
        """The folder of pictures."""
        return self.path / "figures"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def checkpoint(self, name: str = "last") -> Path:
        """Return the path of the checkpoint `last`, `best` or `epoch-0010`."""
        return self.checkpoints / f"{name}.pt"

    def record(self) -> dict[str, Any]:
        """Read run.json; an unreadable one is an empty record."""
        try:
            found = json.loads(self.record_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def update_record(self, **fields: object) -> None:
        """Merge fields into run.json, whole or not at all."""
        merged = {**self.record(), **fields}
        text = json.dumps(merged, indent=2, default=str, ensure_ascii=False)
        write_whole(self.record_file, text.encode() + b"\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl, leaving out a last line that was cut off."""
        rows: list[dict[str, Any]] = []
        with contextlib.suppress(OSError):
            for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    rows.append(json.loads(line))
        return rows

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second training.

        Raises:
            RunFailed: another process is training into it.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFailed(
                f"Another process is training into {self.path}.",
                hint="Wait for it, or choose another folder with --out.",
            ) from None
        except OSError as error:
            raise _unwritable(self.path, error) from None
        try:
            yield
        finally:
            lock.release()


def create_run(title: str, *, out: Path | None, force: bool) -> RunFolder:
    """Make the folder of a new run.

    Args:
        title: what the run is, such as `vae-conv`; part of the default name.
        out: the folder asked for, or None for `runs/<date>_<time>_<title>`.
        force: empty an existing run folder instead of refusing it.

    Raises:
        UsageFault: the folder exists (and `force` is off, or it holds something else than a run).
        RunFailed: it cannot be made.
    """
    path = (out if out is not None else fresh_path(title)).absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        _clear(path, force=force)
    try:
        for folder in (path, path / "checkpoints", path / "figures"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    return RunFolder(path)


def open_run(path: Path) -> RunFolder:
    """Return an existing run folder.

    Raises:
        UsageFault: there is none at `path`.
    """
    if not (path / "config.yaml").is_file():
        raise UsageFault(
            f"There is no run at {path}.", hint="`dl runs list` shows the runs there are."
        )
    return RunFolder(path.absolute())


def list_runs(root: Path = RUNS, *, kind: str | None = None) -> list[RunFolder]:
    """List the runs under a folder, and those a level deeper (seeds, grids), oldest first."""
    if not root.is_dir():
        return []
    configs = [*root.glob("*/config.yaml"), *root.glob("*/*/config.yaml")]
    found = [RunFolder(config.parent.absolute()) for config in configs]
    wanted = [run for run in found if kind is None or run.record().get("kind") == kind]
    return sorted(wanted, key=lambda run: (run.config_file.stat().st_mtime_ns, run.path.name))


def find_run(text: str | None, *, kind: str | None = None) -> RunFolder:
    """Find the run that `--run` names: a folder, a name under `runs/`, or `latest`.

    Args:
        text: what was given; None means the newest trained run.
        kind: the kind it must be, such as `vae`.

    Raises:
        UsageFault: there is no such run, or it is of another kind.
    """
    if text in (None, "latest"):
        trained = [run for run in list_runs(kind=kind) if run.checkpoint().is_file()]
        if not trained:
            raise UsageFault(
                f"There is no trained {kind or ''} run under {RUNS.absolute()}.".replace("  ", " "),
                hint=f"Train one with `dl {kind or 'vae'} train`, or name one with --run FOLDER.",
            )
        return trained[-1]
    assert text is not None
    for candidate in (Path(text), RUNS / text):
        if (candidate / "config.yaml").is_file():
            run = RunFolder(candidate.absolute())
            found = run.record().get("kind")
            if kind is not None and found not in (kind, None):
                raise UsageFault(
                    f"{candidate} is a {found} run, and this command needs a {kind} run.",
                    hint=f"`dl runs list --kind {kind}` shows those there are.",
                )
            return run
    near = nearest(text, [run.path.name for run in list_runs(kind=kind)])
    raise UsageFault(
        f"There is no run '{text}'.",
        hint=near.capitalize() or "`dl runs list` shows the runs there are.",
    )


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


def fresh_path(title: str) -> Path:
    """Return a new name under `runs/`: date, time and title, numbered if that minute has one."""
    base = RUNS / f"{time.strftime('%Y-%m-%d_%H-%M')}_{title}"
    path, n = base, 2
    while path.exists():
        path, n = base.with_name(f"{base.name}-{n}"), n + 1
    return path


def _clear(path: Path, *, force: bool) -> None:
    is_run = path.is_dir() and (path / "config.yaml").is_file()
    if not force:
        hint = "Add --resume to go on with it, --force to replace it, or choose another --out."
        raise UsageFault(f"{path} exists already.", hint=hint)
    if not is_run:
        raise UsageFault(
            f"{path} exists and is not a run folder, so --force does not replace it.",
            hint="Choose another folder with --out.",
        )
    with RunFolder(path).locked():
        for child in path.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            elif child.name != ".lock":
                child.unlink()


def _unwritable(path: Path, error: OSError) -> RunFailed:
    return RunFailed(
        f"The run folder {path} cannot be written: {error.strerror or error}.",
        hint="Choose a folder you may write to with --out.",
    )


def _git_commit() -> str | None:
    """Return the commit of the working folder, if it is a git checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
