"""Files of sentences, a line each, none of which may be lost: line N belongs to another line N."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, cast

from dlcli.data.lines import Fault, read_lines
from dlcli.errors import DataError, UsageFault

STDIN = Path("-")
SEPARATOR = "|||"


def read_sentences(path: Path) -> list[str]:
    """Read every line of a file, or of standard input (`-`), in NFC; blank lines are kept.

    Raises:
        DataError: the file cannot be read, or a line of it is no text.
    """
    try:
        with nullcontext(sys.stdin.buffer) if path == STDIN else path.open("rb") as file:
            lines = list(read_lines(cast(BinaryIO, file), name=str(path)))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.",
            hint="Check the path and its permissions; two files have a flag each."
            if "," in path.name
            else "Check the path and its permissions.",
        ) from None
    for number, line in enumerate(lines, start=1):
        if isinstance(line, Fault):
            raise DataError(
                f"Line {number:,} of {path} cannot be read: {line.reason} in {line.excerpt}.",
                hint="Mend the line: leaving it out would shift all that follow.",
            )
    return [str(line) for line in lines]


def read_two(source: Path, target: Path) -> list[tuple[str, str]]:
    """Read two files line by line.

    Raises:
        DataError: they differ in length, or see `read_sentences`.
    """
    first, second = read_sentences(source), read_sentences(target)
    require_equal(len(first), len(second), names=(str(source), str(target)))
    return list(zip(first, second, strict=True))


def read_joined(path: Path) -> list[tuple[str, str]]:
    """Read lines of the form `source ||| target`.

    Raises:
        DataError: a line has not two sides, or see `read_sentences`.
    """
    found = []
    for number, line in enumerate(read_sentences(path), start=1):
        sides = line.split(SEPARATOR)
        if len(sides) != 2:
            raise DataError(
                f"Line {number:,} of {path} has {len(sides) - 1} '{SEPARATOR}', not one.",
                hint=f"Write each pair as: source {SEPARATOR} target.",
            )
        found.append((sides[0].strip(), sides[1].strip()))
    return found


def require_equal(first: int, second: int, *, names: tuple[str, str]) -> None:
    """Make sure that two files have the same number of lines.

    Raises:
        DataError: they have not.
    """
    if first != second:
        raise DataError(
            f"{names[0]} has {first:,} lines and {names[1]} has {second:,}.",
            hint="Line N of one must belong to line N of the other.",
        )


def require_lines(count: int, *, name: str) -> None:
    """Make sure that there is something to work on.

    Raises:
        UsageFault: there are no lines.
    """
    if not count:
        raise UsageFault(f"{name} has no lines.", hint="Give a file with sentences in it.")
