"""A run as something to hand on: weights without code, settings, record, and a card."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcli.engine.checkpoint import load_model, save_exported
from dlcli.engine.files import write_whole
from dlcli.engine.runs import RunFolder, create_run
from dlcli.errors import UsageFault

MACHINE = ("command", "started", "machine", "git", "device", "precision", "threads", "processes")
KEPT = ("kind", "title", "status", "seed", "result", "signature", "metrics", *MACHINE)
"""What an export keeps of run.json."""
PLACES = ("--out", "-o", "--resume")
"""Flags whose value is a folder of the machine that trained."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was written."""

    folder: Path
    files: tuple[Path, ...]
    size: int
    """Bytes of all files."""


def export_run(
    run: RunFolder,
    *,
    out: Path,
    describe_data: Callable[[str], str],
    half: bool = True,
    checkpoint: str | None = None,
) -> Export:
    """Write a run's result as a folder that every `--run` takes, without optimiser or code.

    Args:
        run: a trained run.
        out: the folder to make.
        describe_data: says what a data set holds, by its name.
        half: whether to store matrices and kernels as float16.
        checkpoint: see `dlcli.engine.checkpoint.load_model`.

    Raises:
        UsageFault: the folder exists, or the run says of no kind what it is.
        CheckpointError: the weights cannot be read.
        RunFailed: the folder cannot be written.
    """
    record = run.record()
    kind = record.get("kind")
    if not isinstance(kind, str):
        raise UsageFault(
            f"{run.path} does not say what kind of run it is.", hint="Its run.json is damaged."
        )
    saved = load_model(run, kind=kind, checkpoint=checkpoint)
    folder = create_run("export", out=out, force=False)
    for empty in (folder.checkpoints, folder.figures):
        empty.rmdir()
    for file in [run.config_file, *sorted(run.path.glob("tokenizer*"))]:
        shutil.copyfile(file, folder.path / file.name)
    save_exported(folder, saved.weights, kind=kind, half=half)
    kept = {name: record[name] for name in KEPT if name in record}
    if run.origin is not None:
        kept["init_from"] = run.origin
    if "command" in kept:
        kept["command"] = _command(kept["command"])
    if isinstance(kept.get("result"), Mapping):
        kept["result"] = {k: v for k, v in kept["result"].items() if k != "run"}
    folder.update_record(**kept, exported={"checkpoint": saved.name, "half": half})
    write_whole(
        folder.path / "README.md",
        card(record=record, half=half, describe_data=describe_data).encode(),
    )
    files = tuple(sorted(path for path in folder.path.iterdir() if path.is_file()))
    return Export(folder=folder.path, files=files, size=sum(file.stat().st_size for file in files))


def card(*, record: Mapping[str, Any], half: bool, describe_data: Callable[[str], str]) -> str:
    """Write a model card from a run's record: what it is, how it was trained, what it reaches."""
    machine, result = record.get("machine", {}), record.get("result", {})
    data = str(result.get("data", "unknown"))
    place = f"{record.get('device')}, {machine.get('platform')}, {record.get('threads')} threads"
    facts = {
        "Data": describe_data(data),
        "Command": f"`{' '.join(_command(record.get('command', [])))}`, settings in `config.yaml`",
        **_resumed(record),
        "Trained": f"{record.get('started')}, {result.get('train_s', 0) / 3600:.2f} hours of "
        f"updates in {record.get('precision')} ({place}, torch {machine.get('torch')})",
        "Weights": f"{'float16' if half else 'float32'} matrices, float32 elsewhere",
        "Signature": f"`{record.get('signature')}`",
    }
    lines = [
        f"# {record.get('title', record.get('kind'))}",
        "",
        *(f"- **{name}:** {fact}" for name, fact in facts.items()),
        "",
        "| measured | |",
        "|---|---|",
        *(f"| {name} | {_number(value)} |" for name, value in record.get("metrics", {}).items()),
        "",
    ]
    return "\n".join(lines)


def _resumed(record: Mapping[str, Any]) -> dict[str, str]:
    """Say with which commands a training was gone on with, each of them once."""
    parts = record.get("resumed")
    known = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    later = [" ".join([*_command(part.get("command", [])), "--resume RUN"]) for part in known]
    said = "; ".join(f"`{command}`" for command in dict.fromkeys(later))
    return {"Gone on with": said} if said else {}


def _command(words: Sequence[object]) -> list[str]:
    """Return a recorded command as anyone would type it: `dl …`, without this machine's folders."""
    kept: list[str] = []
    skip = True  # the first word is the program's path
    for word in map(str, words):
        if not skip and word not in PLACES and not word.startswith("--out="):
            kept.append(word)
        skip = word in PLACES
    return ["dl", *kept]


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
