"""Sentences aligned by hand: text in `source ||| target` lines and links in a file beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dlcli.data.lines import Fault, read_lines
from dlcli.data.pairs import Pairs
from dlcli.errors import DataError

Links = TypeVar("Links")

SEPARATOR = "|||"


def read_bitext(path: Path) -> Pairs:
    """Read the pairs of a `source ||| target` file, spaces around each side taken away.

    Raises:
        DataError: the file cannot be read or is empty, or a line (named by number) is no pair.
    """
    pairs = []
    for number, line in enumerate(_lines(path), start=1):
        sides = [side.strip() for side in line.split(SEPARATOR)]
        if len(sides) != 2 or not all(sides):
            raise DataError(
                f"{path}, line {number}: '{line[:60]}' is not 'source {SEPARATOR} target'.",
                hint="Every line has one ||| with a sentence on each side.",
            )
        pairs.append((sides[0], sides[1]))
    return Pairs.of(pairs)


def read_links(path: Path, *, parse: Callable[[str], Links]) -> tuple[Links, ...]:
    """Read a file of word alignments, one line a sentence; an empty line has no links.

    Args:
        path: a file in Pharaoh's format, or a gold file with possible links (`1p2`).
        parse: reads one line, and raises DataError where it cannot.

    Raises:
        DataError: the file cannot be read or is empty, or a line (named by number) is wrong.
    """
    found = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            found.append(parse(line))
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error.message}", hint=error.hint) from None
    return tuple(found)


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            lines = list(read_lines(file, name=str(path)))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the path."
        ) from None
    for number, line in enumerate(lines, start=1):
        if isinstance(line, Fault):
            raise DataError(
                f"{path}, line {number}: {line.reason} in {line.excerpt}.",
                hint="The file must be plain text in UTF-8.",
            )
    if not lines:
        raise DataError(f"{path} is empty.", hint="Name a file with one line a sentence.")
    return [line for line in lines if isinstance(line, str)]
