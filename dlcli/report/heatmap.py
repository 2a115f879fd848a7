"""A matrix with words on both axes in the terminal: rows named at the left, columns from above.

Column names stand upright, one character a line, since a word is wider than its cell. Where the
terminal is too narrow the matrix is cut into bands of columns, one under the other.
Legend: T rows (target words), S columns (source words).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from dlcli.report.matrix import as_matrix
from dlcli.report.numbers import number
from dlcli.report.terminal import RAMP, has_colour, ramp_character

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CELL = 2
"""Characters a cell is wide: about a square."""
SCALE_ENDS = 9
"""Characters kept free for the numbers beside the scale."""
LONGEST_HEAD = 16
LONGEST_NAME = 30


@dataclass(frozen=True)
class HeatMap:
    """Rich renderable: shaded cells, black for 0 and white for the largest value.

    Args:
        matrix: (T, S), not negative; NaN counts as 0.
        rows: T names of any length.
        columns: S names of any length.
    """

    matrix: object
    rows: Sequence[str]
    columns: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the bands, then what black and white mean."""
        values = as_matrix(self.matrix, rows=len(self.rows), columns=len(self.columns))
        largest = float(values.max())
        levels = (values / largest if largest > 0 else values).clip(0.0, 1.0)
        names = [_cut(name, LONGEST_NAME, ellipsis=_ellipsis(options)) for name in self.rows]
        margin = max(map(cell_len, names)) + 1
        fitting = max(1, (options.max_width - margin) // CELL)
        colour = has_colour(console, options)
        for start in range(0, len(self.columns), fitting):
            band = slice(start, start + fitting)
            yield from self._heads(band, margin=margin, options=options)
            yield from _body(levels[:, band], names, margin=margin, colour=colour)
        shades = max(2, min(len(RAMP), (options.max_width - margin - SCALE_ENDS) // CELL))
        yield from _scale(largest, margin=margin, shades=shades, colour=colour)

    def _heads(self, band: slice, *, margin: int, options: ConsoleOptions) -> Iterator[Segment]:
        """Write the columns' names upright, all ending just above their cells."""
        heads = [
            _characters(_cut(name, LONGEST_HEAD, ellipsis=_ellipsis(options)))
            for name in self.columns[band]
        ]
        height = max(map(len, heads))
        for line in range(height):
            cells = [
                head[line - height + len(head)] if line >= height - len(head) else ""
                for head in heads
            ]
            text = " " * margin + "".join(set_cell_size(cell, CELL) for cell in cells)
            yield Segment(text.rstrip())
            yield Segment.line()


def grey(level: float) -> int:
    """Return the grey (0–255) of a level in [0, 1]; brighter for more, and visibly so near 0."""
    return round(255 * math.pow(level, 0.7))


def _body(
    levels: NDArray[np.float64], names: Sequence[str], *, margin: int, colour: bool
) -> Iterator[Segment]:
    for name, row in zip(names, levels, strict=True):
        yield Segment(" " * (margin - 1 - cell_len(name)) + name + " ")
        for level in row:
            yield _shaded(float(level), colour=colour)
        yield Segment.line()


def _shaded(level: float, *, colour: bool) -> Segment:
    if not colour:
        return Segment(ramp_character(level) * CELL)
    value = grey(level)
    return Segment(" " * CELL, Style(bgcolor=Color.from_rgb(value, value, value)))


def _scale(largest: float, *, margin: int, shades: int, colour: bool) -> Iterator[Segment]:
    """Show the shades from 0 to the largest value."""
    yield Segment(" " * max(0, margin - 2) + "0 ")
    for index in range(shades):
        yield _shaded(index / (shades - 1), colour=colour)
    yield Segment(f" {number(largest, digits=2)}")
    yield Segment.line()


def _cut(name: str, longest: int, *, ellipsis: str) -> str:
    """Shorten a name to so many cells, on one line, without characters that move the cursor."""
    line = "".join(character if character.isprintable() else " " for character in name)
    if cell_len(line) <= longest:
        return line
    return set_cell_size(line, longest - len(ellipsis)).rstrip() + ellipsis


def _ellipsis(options: ConsoleOptions) -> str:
    return "." if options.ascii_only else "…"


def _characters(text: str) -> list[str]:
    """Cut text into what takes a place of its own: accents stay with their letters."""
    found: list[str] = []
    for character in text:
        if found and (unicodedata.combining(character) or not cell_len(character)):
            found[-1] += character
        else:
            found.append(character)
    return found or [""]
