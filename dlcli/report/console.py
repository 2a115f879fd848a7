"""The two places words go: results on standard output, everything else on standard error.

Rich decides about colour (NO_COLOR, FORCE_COLOR, TERM=dumb, COLUMNS). Added here: characters that a
stream cannot encode are spelt out instead of raising, text is never read as markup, long lines are
never cut, and a closed pipe reaches the caller as BrokenPipeError.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from dataclasses import dataclass, field
from typing import TextIO, cast

from rich.console import Console, RenderableType
from rich.text import Text

from dlcli.errors import DlError
from dlcli.report.strict_json import emit, error_object

SPELLINGS = {
    "±": "+/-", "×": "x", "·": "*", "…": "...", "–": "-", "—": "-", "−": "-", "→": "->", "≤": "<=",
    "≥": ">=", "≈": "~", "√": "sqrt", "‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"',
    "œ": "oe", "Œ": "OE", "æ": "ae", "Æ": "AE", "ß": "ss", "∞": "inf", "σ": "sigma", "μ": "mu",
    "µ": "u", "▀": "#", "█": "#", "━": "-", "╸": "-", "╺": "-", "─": "-",
}  # fmt: skip


class _Standard:
    """Standard output or error as it is at each write, for characters of any kind.

    Looked up anew each time, since test runners exchange the streams; while a live display stands
    in for a stream, the real one behind it is meant.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def _stream(self) -> TextIO:
        stream = getattr(sys, self._name)
        return cast(TextIO, getattr(stream, "rich_proxied_file", stream))

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            text = spell(text, encoding=self.encoding)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the caller decide: Rich would end the program from here with status 1."""
        self.quiet = True
        raise BrokenPipeError


@dataclass(frozen=True, kw_only=True)
class Consoles:
    """Where a command's words go: `out` for results, `err` for all else.

    With `json`, results are one object on standard output and tables are not shown; with `quiet`,
    standard error carries warnings and errors only.
    """

    out: Console = field(default_factory=lambda: standard_console("stdout"))
    err: Console = field(default_factory=lambda: standard_console("stderr"))
    quiet: bool = False
    json: bool = False

    def result(self, value: object, *words: RenderableType) -> None:
        """Show a result: `value` as JSON under `--json`, else `words`, one under the other."""
        if self.json:
            emit(value)
            return
        for item in words:
            if isinstance(item, str):
                say(self.out, item)
            else:
                self.out.print(item, crop=False)

    def notice(self, message: str) -> None:
        """Say something on standard error, unless quiet."""
        if not self.quiet:
            say(self.err, message, style="dim")

    def warning(self, message: str) -> None:
        """Warn on standard error, quiet or not."""
        say(self.err, f"warning: {message}", style="yellow")

    def failure(self, error: DlError) -> None:
        """Say what was wrong and what to do; under `--json` also as an object on `out`."""
        say(self.err, f"error: {error.message}", style="bold red")
        if error.hint:
            say(self.err, error.hint)
        if self.json:
            emit(error_object(error))


def standard_console(name: str) -> Console:
    """Make a console on `stdout` or `stderr`."""
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    lines = os.environ.get("LINES", "")
    return _Console(
        file=cast(TextIO, _Standard(name)),
        stderr=name == "stderr",
        highlight=False,
        # Rich forgets COLUMNS on a dumb terminal unless a height comes with it.
        height=int(lines) if lines.isdigit() else 25 if dumb else None,
    )


def say(console: Console, message: str, *, style: str = "") -> None:
    """Print one line as it is: no markup, no wrapping at the console's width."""
    console.print(Text(message, style=style), soft_wrap=True)


def is_live(console: Console) -> bool:
    """Tell whether a bar may be redrawn in place: a real terminal that can move its cursor.

    FORCE_COLOR makes Rich believe in a terminal; a file full of cursor movements helps nobody.
    """
    try:
        return bool(console.is_interactive and console.file.isatty())
    except ValueError:  # a closed stream
        return False


def spell(text: str, *, encoding: str) -> str:
    """Replace what `encoding` cannot carry: `±` by `+/-`, `é` by `e`, the rest by `?`."""
    return "".join(_spelt(character, encoding) for character in text)


def _spelt(character: str, encoding: str) -> str:
    for candidate in (character, SPELLINGS.get(character), _unaccented(character)):
        if candidate is None:
            continue
        try:
            candidate.encode(encoding)
        except UnicodeEncodeError:
            continue
        return candidate
    return "?"


def _unaccented(character: str) -> str | None:
    parts = unicodedata.normalize("NFKD", character)
    return "".join(part for part in parts if not unicodedata.combining(part)) or None
