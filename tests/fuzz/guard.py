"""What must hold for whatever is given to `dl`: a documented exit code, sentences, and no trace."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from dlcli.cli.app import app

EXIT_CODES = (0, 1, 2, 3, 130)
MOST_S = 10.0
"""Of processor time, so that a machine at work is no reason to fail."""
OUT = "out"
"""The one folder under the working folder that commands are told to write into."""
SPOKEN = {"--help", "-h", "--version", "--print-config", "--install-completion"}
"""Words after which stdout is for people, or YAML."""


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of all files under a folder but those in its `out`."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] not in (OUT, "cache"):
            state = path.lstat()
            found[name] = (0, 0) if path.is_dir() else (state.st_size, state.st_mtime_ns)
    return found


def run(words: list[str]) -> None:
    """Run a command line in this process, in the working folder, and check what it did.

    Raises:
        AssertionError: it did something that no input may bring about.
    """
    before, began = snapshot(Path()), time.process_time()
    result = CliRunner().invoke(app, words)
    spent = time.process_time() - began
    check(words, code=result.exit_code, out=result.stdout, err=result.stderr)
    raised = result.exception
    assert raised is None or isinstance(raised, SystemExit), repr(raised)
    assert spent < MOST_S, f"{spent:.1f} s"
    assert snapshot(Path()) == before, "files beside those in out/ were written"


def check(words: list[str], *, code: int, out: str, err: str) -> None:
    """Check what a command said and how it ended."""
    said = f"{out}\n{err}"
    assert code in EXIT_CODES, f"exit code {code}: {said}"
    assert "Traceback (most recent call last)" not in said, said
    assert "Something unforeseen" not in said, said
    if SPOKEN & set(words) or "--json" not in words:
        return
    objects = [_object(row) for row in out.splitlines() if row.strip()]
    if "translate" not in words:
        assert len(objects) == 1, out
    if code in (1, 2, 130):
        error = objects[-1]["error"]
        assert set(error) == {"kind", "message", "hint"}
        assert error["message"]


def _object(row: str) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON: {row}")

    found: dict[str, Any] = json.loads(row, parse_constant=refuse)
    assert isinstance(found, dict), row
    return found
