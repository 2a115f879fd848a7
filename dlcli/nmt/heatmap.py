"""A matrix with words on both axes: as a figure, as in the assignment, and in the terminal.

In the terminal column names stand upright, one character a line, since a word is wider than its
cell. Where the terminal is too narrow the matrix is cut into bands of columns, one under the other.

Rows and columns are in the order of the words in the sentence, the first at the left and on top,
for right-to-left languages too; their letters are drawn as they are read. A mark ends each run of
them, for terminals that would draw the whole line from the right.

Legend: T rows (target words), S columns (source words).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from dlcli.display.images import RAMP, has_colour, ramp_character
from dlcli.display.plots import (
    FAINT,
    FONT_POINTS,
    house_style,
    label,
    new_figure,
    quiet_axes,
    save_figure,
    text_size,
)
from dlcli.display.tables import number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

CELL = 0.24
"""Inches."""
MARGIN = 0.12
BAR, LONGEST_BAR = 0.12, 2.0
SIDE = 2 * MARGIN + BAR + 0.7
"""Inches at the right for the scale and its numbers."""
LEAST_HEIGHT = 1.2
LARGEST = 30.0
"""Inches a figure may have at most; cells shrink to stay within."""


def matrix_figure(
    path: Path, matrix: object, *, rows: Sequence[str], columns: Sequence[str]
) -> Figure:
    """Draw a matrix as shaded cells, white for 0 and dark for its largest value, and save it.

    Args:
        path: PNG, SVG or PDF.
        matrix: (T, S) attention weights.
        rows: T names, at the left.
        columns: S names, on top, standing upright.
    """
    values = as_matrix(matrix, rows=len(rows), columns=len(columns))
    T, S = values.shape
    with house_style("".join([*rows, *columns])):
        figure = new_figure(1, 1, layout=None)
        names, heads = [label(name) for name in rows], [label(name) for name in columns]
        left = max(text_size(figure, name)[0] for name in names) + 2 * MARGIN
        top = max(text_size(figure, head)[0] for head in heads) + 2 * MARGIN
        cell = min(CELL, LARGEST / max(T, S))
        wide, high = S * cell, T * cell
        width, height = left + wide + SIDE, max(top + high + MARGIN, LEAST_HEIGHT)
        figure.set_size_inches(width, height)
        low = (height - top - high) / height
        axes = figure.add_axes((left / width, low, wide / width, high / height))
        image = axes.imshow(values, cmap="Greys", vmin=0, vmax=values.max() or 1.0, aspect="auto")
        quiet_axes(axes)
        axes.spines[:].set(visible=True, color=FAINT)
        axes.set_yticks(range(T), names)
        axes.set_xticks(range(S), heads, rotation=90)
        axes.xaxis.tick_top()
        beside = (left + wide + MARGIN) / width
        place = (beside, low, BAR / width, min(high, LONGEST_BAR) / height)
        bar = figure.colorbar(image, cax=figure.add_axes(place))
        bar.set_label("attention weight", fontsize=FONT_POINTS - 2)
        bar.ax.tick_params(labelsize=FONT_POINTS - 2)
        bar.outline.set_visible(False)
        save_figure(figure, path)
    return figure


CELL_COLUMNS = 2
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
        ellipsis = "." if options.ascii_only else "…"
        names = [_cut(name, LONGEST_NAME, ellipsis=ellipsis) for name in self.rows]
        heads = [_cut(name, LONGEST_HEAD, ellipsis=ellipsis) for name in self.columns]
        margin = max(map(cell_len, names)) + 1
        fitting = max(1, (options.max_width - margin) // CELL_COLUMNS)
        colour = has_colour(console, options)
        for start in range(0, len(self.columns), fitting):
            band = slice(start, start + fitting)
            yield from _heads(heads[band], margin=margin)
            yield from _body(levels[:, band], names, margin=margin, colour=colour)
        shades = max(2, min(len(RAMP), (options.max_width - margin - SCALE_ENDS) // CELL_COLUMNS))
        yield from _colour_scale(largest, margin=margin, shades=shades, colour=colour)


def _cut(name: str, longest: int, *, ellipsis: str) -> str:
    """Shorten a name to so many cells, on one line, without characters that move the cursor."""
    line = "".join(character if character.isprintable() else " " for character in name)
    if cell_len(line) <= longest:
        return line
    return set_cell_size(line, longest - len(ellipsis)).rstrip() + ellipsis


def _heads(names: Sequence[str], *, margin: int) -> Iterator[Segment]:
    """Write the columns' names upright, all ending just above their cells."""
    heads = [_characters(name) for name in names]
    height = max(map(len, heads))
    for line in range(-height, 0):
        cells = [head[line] if line >= -len(head) else "" for head in heads]
        text = "".join(_left_to_right(set_cell_size(cell, CELL_COLUMNS)) for cell in cells)
        yield Segment((" " * margin + text).rstrip())
        yield Segment.line()


def _characters(text: str) -> list[str]:
    """Cut text into what takes a place of its own: accents stay with their letters."""
    found: list[str] = []
    for character in text:
        if found and (unicodedata.combining(character) or not cell_len(character)):
            found[-1] += character
        else:
            found.append(character)
    return found or [""]


LEFT_TO_RIGHT = "\u200e"
"""A mark without width: what stands beside it is not drawn from the right."""


def _left_to_right(text: str) -> str:
    """Keep letters that are written from the right from reversing what stands around them."""
    if any(unicodedata.bidirectional(character) in ("R", "AL") for character in text):
        return LEFT_TO_RIGHT + text + LEFT_TO_RIGHT
    return text


def _body(
    levels: NDArray[np.float64], names: Sequence[str], *, margin: int, colour: bool
) -> Iterator[Segment]:
    for name, row in zip(names, levels, strict=True):
        yield Segment(_left_to_right(" " * (margin - 1 - cell_len(name)) + name + " "))
        for level in row:
            yield _shaded(float(level), colour=colour)
        yield Segment.line()


def _shaded(level: float, *, colour: bool) -> Segment:
    if not colour:
        return Segment(ramp_character(level) * CELL_COLUMNS)
    value = grey(level)
    return Segment(" " * CELL_COLUMNS, Style(bgcolor=Color.from_rgb(value, value, value)))


def grey(level: float) -> int:
    """Return the grey (0–255) of a level in [0, 1]; brighter for more, and visibly so near 0."""
    return round(255 * math.pow(level, 0.7))


def _colour_scale(largest: float, *, margin: int, shades: int, colour: bool) -> Iterator[Segment]:
    """Show the shades from 0 to the largest value."""
    yield Segment(" " * max(0, margin - 2) + "0 ")
    for index in range(shades):
        yield _shaded(index / (shades - 1), colour=colour)
    yield Segment(f" {number(largest, digits=2)}")
    yield Segment.line()


def as_matrix(matrix: object, *, rows: int, columns: int) -> NDArray[np.float64]:
    """Read a matrix (rows, columns) of finite numbers; NaN becomes 0.

    Raises:
        ValueError: its shape is not that of its labels, or it is empty.
    """
    import numpy as np

    values = np.asarray(matrix, dtype=np.float64)
    if values.shape != (rows, columns) or 0 in values.shape:
        raise ValueError(f"a matrix of shape {values.shape} has {rows} × {columns} labels")
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
