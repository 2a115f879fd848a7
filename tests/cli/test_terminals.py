"""What every command prints fits the stream it goes to: any encoding, any width of terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from dlcli.cli.app import GROUPS, app
from dlcli.display.console import Consoles
from dlcli.display.images import PictureRows
from tests.cli.test_layernorm import WORDS as STACKS
from tests.cli.tiny import COMMANDS, LENGTH, SIZES
from tests.display.terminals import on_pipes, on_terminal
from tests.nmt.toy import write_run, write_tsv

ENCODINGS = ("ascii", "latin-1", "utf-8")


@pytest.mark.parametrize("charset", ENCODINGS)
def test_every_help_page_can_be_printed(charset: str) -> None:
    for words in [(), *((group,) for group in GROUPS), *COMMANDS]:
        done = CliRunner(charset=charset).invoke(app, [*words, "--help"])
        assert done.exit_code == 0, (words, done.exception)
        assert "Usage" in done.stdout


QUICK = "--device cpu --precision fp32 --max-length 8"
OUTPUTS = [
    "kl --mu-p 3 --samples 200",
    "mc-estimate --dims 2 20 --pixels 25 --samples 10 1000 --chains 32 --temperatures 20",
    "mc-estimate --run VAE --images 2 --estimators importance --samples 10",
    f"{STACKS} --equations --train --per-layer --placements post pre rezero",
    "sample --run VAE --n 2 --show",
    f"vae train {' '.join([*LENGTH, *SIZES])} --validation 8 --out runs/new",
    "vae eval --run VAE --k 20 --images 8",
    "vae generate --run VAE --n 2",
    "vae gradients --run VAE --images 4",
    f"nmt translate --run NMT {QUICK} Bonjour",
    f"nmt attend --run NMT {QUICK} Bonjour",
    f"nmt eval --run NMT {QUICK}",
    "models",
    "data list",
    "data show glyphs:20 --n 3",
    "data show grammar --n 3",
    "runs list",
    "runs show mlp --all",
    "runs compare mlp conv",
    "runs export mlp --out handed-on",
    "runs prune --epoch-checkpoints",
]


@pytest.fixture(scope="module")
def nmt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nmt")
    write_tsv(folder / "toy.tsv", count=60)
    return write_run(folder / "forward", data=str(folder / "toy.tsv"))


@pytest.mark.usefixtures("trained", "trained_conv", "no_figures")
@pytest.mark.parametrize("line", OUTPUTS, ids=lambda line: line.partition(" -")[0])
def test_every_output_can_be_printed_and_fits(
    line: str, tiny_run: Path, nmt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, Any]] = []
    for name in ("result", "notice", "warning"):
        monkeypatch.setattr(Consoles, name, _noting(getattr(Consoles, name), name, shown))
    words = line.replace("VAE", str(tiny_run)).replace("NMT", str(nmt)).split()
    done = CliRunner(charset="ascii").invoke(app, words)
    assert done.exit_code == 0, done.output
    monkeypatch.undo()
    for charset in ENCODINGS[1:]:
        with monkeypatch.context() as patch:
            for stream in ("stdout", "stderr"):
                text = io.TextIOWrapper(io.BytesIO(), encoding=charset)
                patch.setattr(f"sys.{stream}", text)
            consoles = Consoles()
            for name, values in shown:
                getattr(consoles, name)(*values)
    whole = _printed(shown, monkeypatch, columns=0)
    for columns in (60, 80, 200):
        check_fits(_printed(shown, monkeypatch, columns=columns), whole, columns=columns)


def _noting(real: Any, name: str, shown: list[tuple[str, Any]]) -> Any:
    def note(self: Consoles, *values: Any) -> None:
        shown.append((name, tuple(v for v in values if not isinstance(v, PictureRows))))
        real(self, *values)

    return note


def _printed(
    shown: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, *, columns: int
) -> list[str]:
    with monkeypatch.context() as patch:
        to = on_terminal(patch, columns=columns, no_color=True) if columns else on_pipes(patch)
        for name, values in shown:
            getattr(to[0], name)(*values)
        text = re.sub(r"\x1b\[[\d;]*m", "", to[1].getvalue() + to[2].getvalue())
        return text.split("\n")


def check_fits(lines: list[str], whole: list[str], *, columns: int) -> None:
    """Check that no line is too long, no word broken and no number hidden.

    Long words, such as paths, and lines with tabs stay whole.
    """
    known = _words(whole) | _words(["no room for: (--json has all)"])
    for line in lines:
        longest = max(line.split(" "), key=cell_len)
        whole_one = "\t" in line or cell_len(longest) > 40
        assert whole_one or cell_len(line) <= columns, line
        assert "…" not in line
        if not re.fullmatch(r"[─▀ ]+", line):
            assert _words([line]) <= known, line


def _words(lines: list[str]) -> set[str]:
    """Return the words of lines; the fields of a signature are words, and commas end none."""
    return {word.rstrip(",") for line in lines for word in re.split(r"[ |]+", line) if word}
