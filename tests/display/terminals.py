"""Streams that stand in for a terminal, a pipe, and a pipe that cannot carry Unicode."""

from __future__ import annotations

import io

import pytest

from dlcli.display.console import Consoles


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class AsciiPipe(io.TextIOWrapper):
    """A stream that raises on anything but ASCII."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)

    def text(self) -> str:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode("ascii")


def on_terminal(
    monkeypatch: pytest.MonkeyPatch,
    *,
    columns: int = 100,
    color: str = "truecolor",
    no_color: bool = False,
    quiet: bool = False,
    json: bool = False,
) -> tuple[Consoles, Terminal, Terminal]:
    """Make consoles on two fake terminals: consoles, standard output, standard error."""
    out, err = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "xterm-256color" if color != "standard" else "xterm")
    monkeypatch.setenv("COLORTERM", "truecolor" if color == "truecolor" else "")
    monkeypatch.setenv("COLUMNS", str(columns))
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    return Consoles(quiet=quiet, json=json), out, err


def on_pipes(
    monkeypatch: pytest.MonkeyPatch, *, quiet: bool = False, json: bool = False
) -> tuple[Consoles, io.StringIO, io.StringIO]:
    """Make consoles on two fake pipes."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    return Consoles(quiet=quiet, json=json), out, err
