"""Pictures in the terminal: two pixels to a character cell, in grey.

The upper half block `▀` shows one pixel in its foreground and one in its background colour; Rich
brings the grey down to what the terminal has (true colour, 256 or 16 colours). Where colour is off
or the stream cannot carry the block, a ramp of ASCII characters takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from dlcli.report.pixels import as_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.float64]

HALF_BLOCK = "▀"
RAMP = " .:-=+*#%@"
"""Darkest to brightest, one cell for two pixels."""
GAP = 1
ROW_AIM = 8
"""Pictures that a row should hold before they are shrunk to half their size."""


@dataclass(frozen=True)
class PictureRows:
    """Rich renderable: images in rows as wide as the console.

    Args:
        images: (N, H, W) or (R, C, H, W), anything numpy reads; floats in [0, 1] or uint8.
        columns: pictures a row; by default as many as fit, or C.
        max_rows: rows shown, from the top; 0 shows all.
    """

    images: object
    columns: int = 0
    max_rows: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw row after row with a gap between pictures."""
        images = as_images(self.images)
        columns = self.columns or (images.shape[1] if images.ndim == 4 else 0)
        flat = images.reshape(-1, *images.shape[-2:])
        flat, fitting = _fitted(flat, columns=columns, width=options.max_width)
        rows = [flat[start : start + fitting] for start in range(0, len(flat), fitting)]
        colour = has_colour(console, options)
        for index, row in enumerate(rows[: self.max_rows or None]):
            if index:
                yield Segment.line()
            yield from _cells(_side_by_side(row), colour=colour)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Take whatever width there is."""
        return Measurement(1, options.max_width)


class Still:
    """Rich renderable: another one, drawn once a width, for displays that are redrawn often."""

    def __init__(self, content: RenderableType) -> None:
        self._content = content
        self._width = 0
        self._drawn: list[Segment] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give what was drawn before, unless the width has changed."""
        if self._width != options.max_width:
            self._width = options.max_width
            self._drawn = list(console.render(self._content, options))
        yield from self._drawn


def has_colour(console: Console, options: ConsoleOptions) -> bool:
    """Tell whether shades can be colours here: a colour terminal, not NO_COLOR, and Unicode."""
    return console.color_system is not None and not console.no_color and not options.ascii_only


def ramp_character(level: float) -> str:
    """Return the ASCII character for a brightness in [0, 1]."""
    return RAMP[min(len(RAMP) - 1, int(level * len(RAMP)))]


def shade(upper: int, lower: int) -> Style:
    """Return the style of a half block with these grey levels (0–255) above and below.

    A new one each time: a Rich style remembers the codes of the first terminal it was drawn on.
    """
    return Style(
        color=Color.from_rgb(upper, upper, upper), bgcolor=Color.from_rgb(lower, lower, lower)
    )


def _fitted(images: Pixels, *, columns: int, width: int) -> tuple[Pixels, int]:
    """Shrink (N, H, W) by a whole factor where needed; return it and how many go into a row."""
    wanted = columns or min(len(images), ROW_AIM)
    factor = 1
    most = 2 if not columns else images.shape[-1]
    while factor < most and _per_row(images, factor=factor, width=width) < wanted:
        factor += 1
    fitting = max(1, _per_row(images, factor=factor, width=width))
    return _shrunk(images, factor=factor), min(columns or fitting, fitting)


def _per_row(images: Pixels, *, factor: int, width: int) -> int:
    picture: int = -(-images.shape[-1] // factor)
    return (width + GAP) // (picture + GAP)


def _shrunk(images: Pixels, *, factor: int) -> Pixels:
    """Average blocks of factor × factor pixels; the last block may be padded with black."""
    import numpy as np

    if factor == 1:
        return images
    N, H, W = images.shape
    padded = np.pad(images, ((0, 0), (0, -H % factor), (0, -W % factor)))
    blocks: Pixels = padded.reshape(
        N, padded.shape[1] // factor, factor, padded.shape[2] // factor, factor
    )
    means: Pixels = blocks.mean(axis=(2, 4))
    return means


def _side_by_side(images: Pixels) -> Pixels:
    """Join (N, H, W) into one (H', W') with gaps of NaN; H' is even, padded with NaN below."""
    import numpy as np

    N, H, W = images.shape
    row = np.full((H + H % 2, N * (W + GAP) - GAP), np.nan)
    for index, image in enumerate(images):
        left = index * (W + GAP)
        row[:H, left : left + W] = image
    return row


def _cells(pixels: Pixels, *, colour: bool) -> Iterator[Segment]:
    """Yield one line of segments for each two rows of pixels; NaN is left empty."""
    import numpy as np

    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        pairs = [
            None if np.isnan(top) else (float(top), 0.0 if np.isnan(bottom) else float(bottom))
            for top, bottom in zip(upper, lower, strict=True)
        ]
        for pair, run in groupby(pairs):
            length = len(list(run))
            if pair is None:
                yield Segment(" " * length)
            elif colour:
                yield Segment(
                    HALF_BLOCK * length, shade(round(pair[0] * 255), round(pair[1] * 255))
                )
            else:
                yield Segment(ramp_character(sum(pair) / 2) * length)
        yield Segment.line()
