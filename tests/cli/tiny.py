"""Trainings through the real app: a VAE in a tenth of a second, a translator in half of one."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner, Result

from dlcli.cli.app import GROUPS, TOP, Entry, app, load
from dlcli.engine.checkpoint import load_checkpoint
from dlcli.engine.runs import RunFolder
from tests.nmt.toy import write_tsv

SIZES = ["--hidden", "7", "--latent-dim", "3"]
CONV = ["--arch", "conv", "--channels", "2", "3", "5", "7", "--decoder-channels", "7", "5", "3"]
LENGTH = ["--data", "glyphs:40", "--batch-size", "16", "--epochs", "2"]
TRAIN = ["vae", "train", *LENGTH, *SIZES, "--snapshots", "0"]
NMT_SIZES = [
    *["--embedding", "7", "--encoder-hidden", "5", "--hidden", "9", "--attention-size", "3"],
    *["--vocabulary", "330"],
]
TRANSFORMER = [
    *["--arch", "transformer", "--embedding", "6", "--layers", "2", "1", "--heads", "2"],
    *["--feedforward", "5"],
]
NMT_LENGTH = ["--batch-unit", "sentences", "--batch-size", "12", "--epochs", "2"]
NMT_WHERE = ["--device", "cpu", "--precision", "fp32", "--threads", "1"]

COMMANDS: dict[tuple[str, ...], Entry] = {(name,): entry for name, entry in TOP.items()} | {
    (group, name): entry
    for group, (_, entries) in GROUPS.items()
    for name, entry in entries.items()
}
"""Every command by its words."""


def dl(*words: str) -> Result:
    """Run a command line; what it advises where it fails must be possible."""
    done = CliRunner().invoke(app, list(words))
    path = next((words[:n] for n in (2, 1) if words[:n] in COMMANDS), None)
    if path is not None:
        _, _, advice = done.stderr.partition("error: ")[2].partition("\n")  # below the message
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", re.sub(r"`[^`]*`", "", advice)))
        named -= set(re.findall(r"--[a-z-]*", " ".join(words)))
        flags = {
            flag
            for parameter in load(path[-1], COMMANDS[path]).params
            for flag in (*parameter.opts, *parameter.secondary_opts)
        }
        assert named <= flags, f"{' '.join(path)} has no {named - flags}: {advice}"
    return done


def dl_json(*words: str) -> dict[str, Any]:
    """Run a command line that succeeds and says one JSON object, and nothing else, on stdout."""
    done = dl(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def nmt_train(*, count: int = 60, command: str = "train") -> list[str]:
    """Write a few toy pairs into the current folder; return the words that train on them."""
    write_tsv(Path("toy.tsv"), count=count)
    return ["nmt", command, "--data", "toy.tsv", *NMT_SIZES, *NMT_LENGTH, *NMT_WHERE]


def error_of(done: Result) -> dict[str, str]:
    """Return the error object that `--json` left on stdout, once."""
    found: dict[str, str] = json.loads(done.stdout)["error"]
    assert set(found) == {"kind", "message", "hint"}
    assert "Traceback" not in done.output
    return found


def contents(folder: Path) -> dict[str, str]:
    """Return every file of a run by its hash."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """Return the weights in a run's last checkpoint."""
    state = load_checkpoint(RunFolder(run).checkpoint(), kind="vae")
    weights: dict[str, torch.Tensor] = state["model"]
    return weights


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Say whether two networks have the same weights, bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
