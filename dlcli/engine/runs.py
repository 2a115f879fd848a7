"""Run folders: one training's configuration, record, metrics, checkpoints and figures.

How a folder is made, found by what `--run` says, listed, compared with others, and removed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from filelock import Timeout

from dlcli import pretrained
from dlcli.engine.config import load_yaml
from dlcli.engine.files import locked, write_whole
from dlcli.errors import DlError, RunFailed, UsageFault, nearest

RUNS = Path("runs")
PICTURES = RUNS / "pictures"
"""Of models that are no run here: packaged, exported or untrained."""
WITH_RESULT = ("done", "stopped")
"""How runs end that have a result; `stopped` is at the time limit."""


class Curve(NamedTuple):
    """A learning curve."""

    epochs: list[float]
    losses: list[float]
    """Nats."""
    side: str
    """`training` or `validation`."""
    test: float | None = None
    """−ELBO on the test set, at the end; None where there is none."""
    signature: str | None = None
    """Of the run's result; None before there is one."""


CURVES = ("valid_loss", "train_loss", "valid_nll_per_token")
"""What a learning curve shows, the first that a run has."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder on disk."""

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
    def gallery(self) -> Path:
        """Where pictures of it go: its figures, unless it was exported and stays as it is."""
        return self.figures if self.checkpoints.is_dir() else PICTURES

    @property
    def mark(self) -> str:
        """What the names of its pictures say of it: its name, unless they are among its figures."""
        return "" if self.gallery == self.figures else self.path.name

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def exported_file(self) -> Path:
        """Weights alone, in a run that was exported."""
        return self.path / "model.safetensors"

    @property
    def is_trained(self) -> bool:
        """Whether there are weights to use."""
        return self.checkpoint().is_file() or self.exported_file.is_file()

    def checkpoint(self, name: str = "last") -> Path:
        """Return the path of the checkpoint `last`, `best` or `epoch-0010`."""
        return self.checkpoints / f"{name}.pt"

    def record(self) -> dict[str, Any]:
        """Read run.json; an unreadable one is an empty record."""
        try:
            found = json.loads(self.record_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def origin(self) -> str | None:
        """Return the name of the run whose weights this one started from, if it did."""
        found = self.record().get("init_from")
        return Path(found).name if isinstance(found, str) and found else None

    @property
    def status(self) -> str:
        """`done`, `stopped` at its time limit, `interrupted`, `failed`, `running`, or `killed`.

        A run that says it is running while no process holds its folder was killed.
        """
        said = str(self.record().get("status", "no record"))
        return "killed" if said == "running" and not self.is_in_use else said

    @property
    def is_in_use(self) -> bool:
        """Whether a process holds its lock, to train into it."""
        try:
            with locked(self._lock_file, wait_s=0):
                return False
        except Timeout:
            return True
        except OSError:  # it cannot be written to
            return False

    def update_record(self, **fields: object) -> None:
        """Merge fields into run.json, whole or not at all; None takes a field out."""
        merged = finite({k: v for k, v in (self.record() | fields).items() if v is not None})
        text = json.dumps(merged, indent=2, default=str, ensure_ascii=False)
        write_whole(self.record_file, text.encode(errors="replace") + b"\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl, leaving out a last line that was cut off."""
        rows: list[object] = []
        with contextlib.suppress(OSError):
            for line in self.metrics_file.read_bytes().split(b"\n"):
                with contextlib.suppress(ValueError, RecursionError):
                    rows.append(json.loads(line))
        return [row for row in rows if isinstance(row, dict)]

    def sweep(self) -> None:
        """Remove the temporary files of a process that was killed while it wrote; lock first."""
        for folder in (self.path, self.checkpoints, self.figures):
            for left in folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)

    def mark_newest(self) -> None:
        """Make this the newest of its neighbours for `list_runs`, whatever the clock says."""
        others = [run for run in list_runs(self.path.parent) if run.path != self.path]
        newest = max((run.touched_ns for run in others), default=0)
        if self.touched_ns <= newest:
            os.utime(self.config_file, ns=(newest + 1000, newest + 1000))

    @property
    def touched_ns(self) -> int:
        """When training last began here, in nanoseconds; 0 for a run that is gone."""
        try:
            return self.config_file.stat().st_mtime_ns
        except OSError:
            return 0

    @property
    def _lock_file(self) -> Path:
        return self.path / ".lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the folder against a second training.

        Yields:
            whether it is held; some file systems have no locks.

        Raises:
            RunFailed: another process is training into it, or it cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                held = stack.enter_context(locked(self._lock_file, wait_s=0.2))
            except Timeout:
                raise RunFailed(
                    f"Another process is training into {self.path}.",
                    hint="Wait for it, or choose another folder with --out.",
                ) from None
            except OSError as error:
                raise _unwritable(self.path, error) from None
            yield held


def find_run(text: str | None, *, kind: str | None = None) -> RunFolder:
    """Find the run that `--run` names: a folder, a name under `runs/`, `latest`, or a packaged one.

    Args:
        text: what was given; `NAME` or `pretrained:NAME` is a model that ships with the package;
            None means the newest trained run, or else the packaged model of that kind.
        kind: the kind it must be, such as `vae`.

    Raises:
        UsageFault: there is no such run, or it is of another kind.
    """
    if text in (None, "latest"):
        trained = [run for run in list_runs(kind=kind) if run.is_trained]
        packaged = pretrained.default(kind) if text is None else None
        if trained or packaged:
            return trained[-1] if trained else RunFolder(packaged or Path())
        raise UsageFault(
            f"There is no trained {kind or ''} run under {RUNS.absolute()}.".replace("  ", " "),
            hint=f"Train one with `dl {kind or 'vae'} train`, or name one with --run FOLDER.",
        )
    assert text is not None
    if text.startswith(pretrained.PREFIX):
        return _of_kind(_packaged(text.removeprefix(pretrained.PREFIX)), text, kind=kind)
    for candidate in (Path(text), RUNS / text):
        if (candidate / "config.yaml").is_file():
            return _of_kind(RunFolder(candidate.absolute()), str(candidate), kind=kind)
    if text in pretrained.names():
        return _of_kind(_packaged(text), text, kind=kind)
    near = nearest(text, [*pretrained.names(), *(run.path.name for run in list_runs(kind=kind))])
    raise UsageFault(
        f"There is no run '{text}'.",
        hint=near[:1].upper() + near[1:] or "`dl runs list` shows the runs there are.",
    )


def unfinished_beside(path: Path, *, kind: str) -> RunFolder | None:
    """Return the newest trained run that could go on, where the one at `path` has a result."""
    if RunFolder(path).status != "done":
        return None
    others = [run for run in list_runs(kind=kind) if run.is_trained and run.path != path]
    left = [run for run in others if run.status not in ("done", "running")]
    return left[-1] if left else None


def using(run: RunFolder, *, checkpoint: str) -> str:
    """Say which weights a command takes, and of which training where that is not finished."""
    unfinished = {
        "running": ", of a training that is still running",
        "interrupted": ", of a training that was interrupted",
        "killed": ", of a training that was killed",
        "failed": ", of a training that failed",
    }
    return f"Using {run.path}, checkpoint {checkpoint}{unfinished.get(run.status, '')}."


def _packaged(name: str) -> RunFolder:
    folder = pretrained.folder(name)
    if folder is None:
        known = pretrained.names()
        near = nearest(name, known)
        raise UsageFault(
            f"There is no packaged model '{name}'.",
            hint=near[:1].upper() + near[1:] or f"There are {', '.join(known) or 'none'}.",
        )
    return RunFolder(folder)


def packaged() -> list[dict[str, Any]]:
    """Return the key facts of the models that ship: those of a run, purpose and size."""
    runs = {name: RunFolder(pretrained.folder(name) or Path()) for name in pretrained.names()}
    return [
        {
            **summarise(run),
            "name": name,
            "purpose": pretrained.PURPOSES.get(name, ""),
            "size_bytes": _whole(run, "").size,
        }
        for name, run in runs.items()
    ]


def _of_kind(run: RunFolder, text: str, *, kind: str | None) -> RunFolder:
    found = run.record().get("kind")
    if kind is not None and found not in (kind, None):
        raise UsageFault(
            f"{text} is a run of kind {found}, and this command needs one of kind {kind}.",
            hint=f"`dl runs list --kind {kind}` shows those there are.",
        )
    return run


def list_runs(root: Path = RUNS, *, kind: str | None = None) -> list[RunFolder]:
    """List the runs under a folder, and those a level deeper (seeds, grids), oldest first.

    A run that links lead to as well is listed once, by its own name where it has one here.
    """
    if not root.is_dir():
        return []
    configs = [*root.glob("*/config.yaml"), *root.glob("*/*/config.yaml")]
    folders = [config.parent for config in configs]
    folders.sort(key=lambda folder: folder.is_symlink() or folder.parent.is_symlink(), reverse=True)
    once = {folder.resolve(): folder for folder in folders}  # the last is no link, if one is none
    found = [RunFolder(folder.absolute()) for folder in once.values()]
    wanted = [run for run in found if kind is None or run.record().get("kind") == kind]
    return sorted(wanted, key=lambda run: (run.touched_ns, run.path.name))


IF_TAKEN = "Add --resume to go on with it, --force to replace it, or choose another --out."


def create_run(title: str, *, out: Path | None, force: bool, if_taken: str = IF_TAKEN) -> RunFolder:
    """Make the folder of a new run.

    Args:
        title: what the run is, such as `vae-conv`; part of the default name.
        out: the folder asked for, or None for `runs/<date>_<time>_<title>`.
        force: empty an existing run folder instead of refusing it.
        if_taken: what to do where the folder exists.

    Raises:
        UsageFault: the folder exists (and `force` is off, or it holds something else than a run).
        RunFailed: it cannot be made.
    """
    path = out.absolute() if out is not None else claim_folder(title)
    try:
        check_free(path, force=force, if_taken=if_taken)
        if path.exists():
            _clear(path)
        for folder in (path, path / "checkpoints", path / "figures"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    return RunFolder(path)


def check_free(path: Path, *, force: bool, if_taken: str = IF_TAKEN) -> None:
    """Refuse a folder that a new run may not take.

    Raises:
        UsageFault: it holds something else than what a run left that never saved anything; with
            `force`, something else than a run.
        RunFailed: there cannot be a folder of that name.
    """
    parent = next(folder for folder in path.parents if folder.exists())
    if not parent.is_dir():
        raise _unwritable(path, NotADirectoryError(20, "Not a directory"))
    if not path.exists() or is_blank(path):
        return
    is_run = path.is_dir() and (path / "config.yaml").is_file()
    if not force:
        raise UsageFault(f"{path} exists already.", hint=if_taken)
    if not is_run:
        raise UsageFault(
            f"{path} exists and is not a run folder, so --force does not replace it.",
            hint="Choose another folder with --out.",
        )


def is_blank(path: Path) -> bool:
    """Say whether a folder holds nothing, or what a run left that never saved anything.

    A file of settings alone may be someone's own.
    """
    if not path.is_dir():
        return False
    remains = {".lock", "checkpoints", "figures", "run.json"}
    remains |= {"config.yaml"} if (path / "run.json").is_file() else set()
    return all(
        (child.name in remains or child.match(".*.tmp") or child.match("tokenizer.*"))
        and not (child.is_dir() and any(child.iterdir()))
        for child in path.iterdir()
    )


def _clear(path: Path) -> None:
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


def fresh_path(title: str) -> Path:
    """Return a new name under `runs/`: date, time and title, numbered if that minute has one."""
    base = RUNS / f"{time.strftime('%Y-%m-%d_%H-%M')}_{title}"
    path, n = base, 2
    while path.exists():
        path, n = base.with_name(f"{base.name}-{n}"), n + 1
    return path


def claim_folder(title: str) -> Path:
    """Make a folder under `runs/` with a name of its own; two that start together get one each.

    Raises:
        RunFailed: it cannot be made.
    """
    while True:
        path = fresh_path(title).absolute()
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if not path.exists():  # a file stands where a folder above it should be
                raise _unwritable(path, NotADirectoryError(20, "Not a directory")) from None
        except OSError as error:
            raise _unwritable(path, error) from None
        else:
            return path


def open_unfinished(path: Path) -> RunFolder:
    """Return an existing run folder in which a training may be resumed.

    Raises:
        UsageFault: there is none at `path`, or it was exported: what it would take to resume was
            left out, and nothing is to be written over what was handed on.
    """
    if not (path / "config.yaml").is_file():
        raise UsageFault(
            f"There is no run at {path}.", hint="`dl runs list` shows the runs there are."
        )
    folder = RunFolder(path.absolute())
    if folder.exported_file.is_file() and not folder.checkpoint().is_file():
        raise UsageFault(
            f"{path} is an exported model: weights, and nothing to go on from.",
            hint="Start a new run from it with --init-from, and the settings of its network.",
        )
    return folder


def finite(value: Any) -> Any:
    """Replace what JSON cannot hold (NaN, infinities) by null."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summarise(run: RunFolder) -> dict[str, Any]:
    """Return a run's key facts: name, kind, status, final metrics, signature."""
    record = run.record()
    rows = run.metrics()
    return {
        "run": str(run.path),
        "name": run.path.name
        if run.path.parent.name == "runs"
        else f"{run.path.parent.name}/{run.path.name}",
        "kind": record.get("kind"),
        "title": record.get("title"),
        "status": run.status,
        "started": record.get("started"),
        "epoch": rows[-1].get("epoch") if rows else 0,
        "metrics": record.get("metrics", {}),
        "signature": record.get("signature"),
    }


def details(run: RunFolder) -> dict[str, Any]:
    """Return everything that is known of a run: its record, its settings, its last metrics."""
    rows = run.metrics()
    files = sorted(
        str(path) for path in run.path.rglob("*") if path.is_file() and path.name != ".lock"
    )
    return {
        **summarise(run),
        "record": run.record(),
        "config": load_yaml(run.config_file),
        "last": rows[-1] if rows else {},
        "files": files,
    }


def differences(runs: Sequence[RunFolder]) -> dict[str, list[Any]]:
    """Return the settings in which runs differ: dotted path → one value a run (None: not set)."""
    flat = [leaves(_config(run)) for run in runs]
    paths = dict.fromkeys(path for settings in flat for path in settings)
    found = {path: [settings.get(path) for settings in flat] for path in paths}
    return {path: values for path, values in found.items() if any(v != values[0] for v in values)}


def curves_of(runs: Sequence[RunFolder]) -> dict[str, Curve]:
    """Return each run's learning curve: name → (epochs, losses)."""
    return {summarise(run)["name"]: curve_of(run) for run in runs}


def curve_of(run: RunFolder) -> Curve:
    """Return a run's learning curve, of validation data where there are any."""
    rows, record = run.metrics(), run.record()
    elbo = (record.get("metrics") or {}).get("elbo")
    test = -elbo if isinstance(elbo, int | float) else None
    for name in CURVES:
        points = [
            (row["epoch"], row[name]) for row in rows if isinstance(row.get(name), int | float)
        ]
        if points:
            epochs, losses = [float(x) for x, _ in points], [float(y) for _, y in points]
            side = "validation" if name.startswith("valid_") else "training"
            return Curve(epochs, losses, side, test, record.get("signature"))
    return Curve([], [], "training", None, record.get("signature"))


LOSS_PARTS = ("data", "size", "colour", "pixels", "split", "likelihood")
"""Parts of a signature: the losses of runs that differ in one of them are not to be compared."""


def loss_kinds(signatures: Sequence[str | None]) -> list[str]:
    """Say of each run what sets its losses apart, such as `likelihood: logistic`.

    Args:
        signatures: one a run; None where it has none yet.

    Returns:
        The same words for runs whose losses may be compared: none where that is all of them.
    """
    signed = [signature for signature in signatures if signature]
    parts = [part for part in LOSS_PARTS if len({_part(one, part) for one in signed}) > 1]
    return [
        ", ".join(f"{part}: {_part(one, part) if one else 'not known yet'}" for part in parts)
        for one in signatures
    ]


def signature_warning(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence where the runs' numbers were not measured on the same pixels or data."""
    for part in LOSS_PARTS:
        values = {_part(row.get("signature"), part) for row in rows if row.get("signature")}
        if len(values) > 1:
            found = ", ".join(sorted(values))
            return f"These runs differ in {part} ({found}): do not compare their losses."
    return ""


def _part(signature: str | None, name: str) -> str:
    for field in (signature or "").split("|"):
        key, _, value = field.partition(":")
        if key == name:
            return value
    return "none"


def _config(run: RunFolder) -> dict[str, Any]:
    try:
        return load_yaml(run.config_file)
    except DlError:
        return {}


def leaves(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted paths."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        path = f"{prefix}{key}"
        found |= leaves(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return found


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

    Of a link only the link goes. What cannot be removed does not keep the rest.

    Raises:
        RunFailed: something could not be removed, or is being trained by now.
    """
    failures: list[RunFailed] = []
    for removal in removals:
        try:
            _remove(removal.path)
        except RunFailed as error:
            failures.append(error)
        except OSError as error:
            words = f"{removal.path} could not be removed: {error.strerror or error}."
            failures.append(RunFailed(words, hint="Check its permissions."))
    if failures:
        more = f" {len(failures) - 1} more failed." if len(failures) > 1 else ""
        raise RunFailed(failures[0].message + more, hint=failures[0].hint)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    with RunFolder(path).locked():
        shutil.rmtree(path)
    with contextlib.suppress(OSError):  # it holds something else
        path.parent.rmdir()


def _whole(run: RunFolder, reason: str) -> Removal:
    inside = [run.path] if run.path.is_symlink() else run.path.rglob("*")
    size = sum(path.lstat().st_size for path in inside if path.is_file() or path.is_symlink())
    return Removal(path=run.path, reason=reason, size=size)
