"""Where words go: results on standard output, everything else on standard error; JSON and files.

Rich decides about colour (NO_COLOR, FORCE_COLOR, TERM=dumb, COLUMNS). Here is added: text is never
read as markup, lines are never cut (on a terminal they break between words, elsewhere nowhere), and
a closed pipe reaches the caller as BrokenPipeError.

JSON is strict (RFC 8259): one object a line, no NaN or Infinity, nothing that a parser may refuse.
Arrays and tensors are recognised by their `tolist`, so neither numpy nor torch is imported here.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from pathlib import Path, PurePath
from typing import IO, SupportsFloat, cast

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.segment import Segment, Segments

from dlcli.engine.files import replace_unencodable, write_whole
from dlcli.errors import DlError, Interrupted, RunFailed


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
    said: set[str] = field(default_factory=set, repr=False, compare=False)
    """Notices and warnings so far."""

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
        self.said.add(message)
        if not self.quiet:
            say(self.err, message, style="dim")

    def warning(self, message: str) -> None:
        """Warn on standard error, quiet or not."""
        self.said.add(message)
        say(self.err, f"warning: {message}", style="yellow")

    def failure(self, error: DlError) -> None:
        """Say what was wrong and what to do; under `--json` also as an object on `out`."""
        if isinstance(error, Interrupted):  # the user's own wish is no error
            say(self.err, error.message)
        else:
            say(self.err, f"error: {error.message}", style="bold red")
        if error.hint:
            say(self.err, error.hint)
        if self.json:
            emit(error_object(error))


def standard_console(name: str) -> Console:
    """Make a console on `stdout` or `stderr`; what these cannot encode becomes `?`."""
    stream = getattr(sys, name)
    replace_unencodable(stream)
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    lines = os.environ.get("LINES", "")
    return _Console(
        file=stream,
        stderr=name == "stderr",
        highlight=False,
        # Rich forgets COLUMNS on a dumb terminal unless a height comes with it.
        height=int(lines) if lines.isdigit() else 25 if dumb else None,
    )


def say(console: Console, message: str, *, style: str = "") -> None:
    """Print a message without markup: one line, or on a terminal as many as it takes."""
    lines = wrapped(message, 0 if "\t" in message else width_of(console))
    shown = console.get_style(style) if style and console.color_system else None
    for line in lines:  # as segments: a text would lose its tabs
        console.print(Segments([Segment(line, shown), Segment.line()]), soft_wrap=True, end="")


def width_of(console: Console) -> int:
    """Return the cells of a terminal's line; 0 for a pipe or a file, whose lines stay whole."""
    try:
        return console.width if console.is_terminal and console.file.isatty() else 0
    except ValueError:  # a closed stream
        return 0


def wrapped(text: str, width: int) -> list[str]:
    """Break a line behind spaces, or behind the bars of a signature; a long word stays whole.

    What follows the first line is indented like it. A width of 0 leaves the line whole.
    """
    if not width:
        return [text]
    words = text.lstrip(" ")
    indent = text[: len(text) - len(words)]
    lines = [""]
    for word in re.split(r"(?<=[ |])", words):
        if lines[-1] and cell_len((indent + lines[-1] + word).rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [(indent + line).rstrip() for line in lines]


def is_live(console: Console) -> bool:
    """Tell whether a bar may be redrawn in place: a real terminal that can move its cursor.

    FORCE_COLOR makes Rich believe in a terminal; cursor movements in a file are of no use.
    """
    return bool(console.is_interactive and width_of(console))


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the caller decide: Rich would end the program from here with status 1."""
        self.quiet = True
        raise BrokenPipeError


LONE_SURROGATES = re.compile("[\ud800-\udfff]")
# Legal inside JSON strings, yet line ends to Python's splitlines and to some editors.
LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def emit(value: object, *, file: IO[str] | None = None) -> None:
    """Print `value` as one line of JSON on `file` (standard output) and flush it.

    The one object of `--json`, or one line of a JSON Lines stream: a reader at the other end of a
    pipe has it at once.
    """
    stream = file if file is not None else sys.stdout
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
    stream.write(to_json(value, ascii_only=not encoding.startswith("utf")) + "\n")
    stream.flush()


def error_object(error: DlError) -> dict[str, dict[str, str]]:
    """Describe a failure the way `--json` prints it."""
    return {"error": {"kind": error.kind, "message": error.message, "hint": error.hint}}


def to_json(value: object, *, ascii_only: bool = False) -> str:
    """Write `value` as one line of strict JSON (RFC 8259); see `to_plain` for what becomes what."""
    line = json.dumps(to_plain(value), allow_nan=False, ensure_ascii=ascii_only)
    for character, escape in LINE_ENDS.items():
        line = line.replace(character, escape)
    return line


def to_plain(value: object) -> object:
    """Turn `value` into None, bool, int, finite float, str, list and dict, all the way down.

    NaN and ±Infinity become None; arrays and tensors become (nested) lists, their scalars numbers;
    paths become absolute; dataclasses become dicts; sets become sorted lists.

    Raises:
        TypeError: something in `value` has no JSON form, or two keys read the same in JSON.
    """
    if isinstance(value, Enum):
        return to_plain(value.value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return LONE_SURROGATES.sub("\ufffd", value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return to_plain(os.path.abspath(value))
    if isinstance(value, date):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: to_plain(getattr(value, item.name)) for item in dataclasses.fields(value)
        }
    return _collection(value)


def _collection(value: object) -> object:
    if isinstance(value, Mapping):
        plain = {_key(key): to_plain(item) for key, item in value.items()}
        if len(plain) != len(value):
            raise TypeError("two keys of a mapping read the same in JSON")
        return plain
    if isinstance(value, Set):
        return sorted((to_plain(item) for item in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [to_plain(item) for item in value]
    tolist = getattr(value, "tolist", None)
    if tolist is None or isinstance(value, memoryview):
        raise TypeError(f"{type(value).__name__} has no JSON form")
    listed = tolist()
    if type(listed) is type(value):  # numpy's long double is its own Python scalar
        return to_plain(float(cast(SupportsFloat, listed)))
    return to_plain(listed)


def _key(key: object) -> str:
    plain = to_plain(key)
    if isinstance(plain, str):
        return plain
    if plain is None or isinstance(plain, bool | int | float):
        return json.dumps(plain)
    raise TypeError(f"{type(key).__name__} cannot be a key in JSON")


def write_file(path: Path, data: bytes) -> Path:
    """Write `data` to `path`, making its folder, and return the absolute path.

    Raises:
        RunFailed: the file or its folder cannot be written; what was there before is untouched.
    """
    whole = path.absolute()
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFailed(
            f"The folder {whole.parent} could not be made: {error.strerror or error}.",
            hint="Choose a path in a folder you may write to.",
        ) from None
    if whole.is_dir():
        raise RunFailed(f"{whole} is a folder.", hint="Name a file in it, such as figure.png.")
    write_whole(whole, data)
    return whole
