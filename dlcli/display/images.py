"""Images as files, as figures and in the terminal: a pixel in, a pixel out, never resampled.

Legend: N images, R rows, C columns of images, H × W pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from dlcli.display.console import write_file
from dlcli.display.plots import (
    DPI,
    FONT_POINTS,
    house_style,
    label,
    new_figure,
    place_title,
    quiet_axes,
    save_figure,
    text_size,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def as_images(images: object) -> Floats:
    """Read images as floats in [0, 1]: uint8 is divided by 255, floats are clipped, NaN is black.

    Args:
        images: (N, H, W) or (R, C, H, W), anything that numpy reads.

    Raises:
        ValueError: another shape, or no image at all.
    """
    import numpy as np

    raw = np.asarray(images)
    if raw.ndim not in (3, 4) or 0 in raw.shape:
        raise ValueError(f"pictures have the shape (N, H, W) or (R, C, H, W), not {raw.shape}")
    scaled = raw / 255.0 if raw.dtype == np.uint8 else raw.astype(np.float64)
    return np.clip(np.nan_to_num(scaled, nan=0.0), 0.0, 1.0)


def as_rows(images: object, *, columns: int = 0) -> Floats:
    """Lay images out as (R, C, H, W); the last row is filled up with NaN.

    Args:
        images: (N, H, W), cut into rows, or (R, C, H, W), left as it is.
        columns: C for (N, H, W); as square as can be where 0.
    """
    import numpy as np

    pictures = as_images(images)
    if pictures.ndim == 4:
        return pictures
    N, H, W = pictures.shape
    C = columns or math.ceil(math.sqrt(N))
    R = math.ceil(N / C)
    rows = np.full((R * C, H, W), np.nan)
    rows[:N] = pictures
    return rows.reshape(R, C, H, W)


def join_rows(rows: Floats, *, gap: int = 0) -> Floats:
    """Join (R, C, H, W) into one (R·H + gaps, C·W + gaps); gaps are NaN."""
    import numpy as np

    R, C, H, W = rows.shape
    spaced = np.pad(rows, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=np.nan)
    joined: Floats = spaced.transpose(0, 2, 1, 3).reshape(R * (H + gap), C * (W + gap))
    return joined[: R * (H + gap) - gap, : C * (W + gap) - gap]


def save_png(path: Path, images: object) -> Path:
    """Write images (N, H, W) as one grey PNG of exactly their pixels, without gaps.

    Returns:
        the absolute path.

    Raises:
        RunFailed: `path` cannot be written.
    """
    import numpy as np
    from PIL import Image

    pixels = np.nan_to_num(join_rows(as_rows(images)), nan=0.0)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255.0).astype(np.uint8)).save(buffer, "png")
    return write_file(path, buffer.getvalue())


def read_png(path: Path, *, side: int) -> Floats:
    """Cut the pixels of `save_png` back into (R, C, side, side), in [0, 1]."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L")) / 255.0
    R, C = pixels.shape[0] // side, pixels.shape[1] // side
    return pixels[: R * side, : C * side].reshape(R, side, C, side).transpose(0, 2, 1, 3)


def save_npz(path: Path, **arrays: object) -> Path:
    """Write arrays as one compressed npz, the same bytes for the same values.

    Raises:
        RunFailed: `path` cannot be written.
    """
    import numpy as np

    buffer = io.BytesIO()
    # numpy's stub knows its own flag among the keywords, and not the arrays.
    save: Any = np.savez_compressed
    save(buffer, **{name: np.asarray(value) for name, value in arrays.items()})
    return write_file(path, buffer.getvalue())


GAP = 2
"""Image pixels between images."""
MARGIN = 0.08
"""Inches around everything."""
WIDEST = 1500
"""Dots that the panels may be wide before their images are shown smaller."""


def image_grid(
    path: Path,
    images: object,
    *,
    columns: int = 0,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Draw images in rows and columns, each row and column with its name, and save the figure.

    Each pixel of an image is a square of whole pixels on paper.

    Args:
        path: PNG, SVG or PDF.
        images: (N, H, W) or (R, C, H, W), floats in [0, 1] or uint8.
        columns: C for (N, H, W); as square as can be where 0.
        row_labels: one a row, on the left, or none.
        column_labels: one a column, on top, or none.
        title: above everything.

    Raises:
        ValueError: the shape is wrong, or the labels do not fit it.
        RunFailed: the path cannot be written.
    """
    rows = as_rows(images, columns=columns)
    R, C = rows.shape[:2]
    for labels, expected in ((row_labels, R), (column_labels, C)):
        if labels and len(labels) != expected:
            raise ValueError(f"{len(labels)} labels for {expected} rows or columns")
    with house_style():
        figure = new_figure(1, 1, layout=None)
        names = [label(name) for name in row_labels]
        left = max((text_size(figure, name)[0] for name in names), default=0.0)
        heads, slanted, top = _column_heads(figure, column_labels, cell=rows.shape[3], columns=C)
        axes = _panel_row(figure, [rows], left=left, top=top, title=title)[0]
        _ticks(axes, rows.shape, names=names, heads=heads)
        if slanted:
            axes.tick_params(axis="x", labelrotation=90)
        save_figure(figure, path)
    return figure


def snapshots(
    path: Path, panels: Mapping[str, object], *, title: str = "", columns: int = 0
) -> Figure:
    """Draw several sets of images side by side, such as the same z at epochs 0, 10 and 80.

    Args:
        path: PNG, SVG or PDF.
        panels: name (`epoch 10`) → images (N, H, W).
        title: above everything.
        columns: images a row in each panel; as square as can be where 0.
    """
    grids = [as_rows(images, columns=columns) for images in panels.values()]
    if not grids:
        raise ValueError("there are no panels to draw")
    with house_style():
        figure = new_figure(1, 1, layout=None)
        height = text_size(figure, "Ag")[1] * 1.6
        drawn = _panel_row(figure, grids, left=0.0, top=height, title=title)
        for axes, name in zip(drawn, panels, strict=True):
            axes.set_title(label(name), fontsize=FONT_POINTS, pad=3)
            axes.set_xticks([])
            axes.set_yticks([])
        save_figure(figure, path)
    return figure


def _panel_row(
    figure: Figure,
    grids: Sequence[Floats],
    *,
    left: float,
    top: float,
    title: str,
) -> list[Axes]:
    """Size the figure to its panels and place one axes on each; sizes in inches."""
    import numpy as np

    tiles = [join_rows(grid, gap=GAP) for grid in grids]
    dots = max(1, min(4, WIDEST // sum(pixels.shape[1] for pixels in tiles)))
    widths = [pixels.shape[1] * dots / DPI for pixels in tiles]
    heights = [pixels.shape[0] * dots / DPI for pixels in tiles]
    title = label(title, longest=200)
    head_width, head = text_size(figure, title, points=FONT_POINTS + 1)
    start = MARGIN + (left + MARGIN if left else 0.0)
    spacing = 2 * MARGIN
    inner = sum(widths) + spacing * (len(tiles) - 1)
    width = max(start + inner + MARGIN, head_width + 2 * MARGIN)
    height = MARGIN + max(heights) + (top + MARGIN) + (1.5 * head if title else 0.0)
    width, height = round(width * DPI) / DPI, round(height * DPI) / DPI
    figure.set_size_inches(width, height)
    place_title(figure, title, x=0.5, margin=MARGIN)
    drawn = []
    start = round((start + (width - start - inner - MARGIN) / 2) * DPI) / DPI
    base = round(MARGIN * DPI) / DPI
    for pixels, wide, high in zip(tiles, widths, heights, strict=True):
        bottom = base + max(heights) - high
        axes = figure.add_axes((start / width, bottom / height, wide / width, high / height))
        axes.imshow(
            np.nan_to_num(pixels, nan=1.0), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
        )
        axes.set_aspect("auto")
        quiet_axes(axes)
        drawn.append(axes)
        start = round((start + wide + spacing) * DPI) / DPI
    return drawn


def _column_heads(
    figure: Figure, labels: Sequence[str], *, cell: int, columns: int
) -> tuple[list[str], bool, float]:
    """Return the labels, whether they must stand upright, and the height they need in inches."""
    heads = [label(name) for name in labels]
    if not heads:
        return [], False, 0.0
    sizes = [text_size(figure, head) for head in heads]
    widest = max(width for width, _ in sizes)
    dots = max(1, min(4, WIDEST // (columns * (cell + GAP))))
    if widest <= (cell + GAP) * dots / DPI:
        return heads, False, max(height for _, height in sizes)
    return heads, True, widest


def _ticks(
    axes: Axes, shape: tuple[int, ...], *, names: Sequence[str], heads: Sequence[str]
) -> None:
    """Name rows at the left and columns on top, at the middle of their images."""
    R, C, H, W = shape
    axes.set_yticks([r * (H + GAP) + (H - 1) / 2 for r in range(R)] if names else [], names)
    axes.set_xticks([c * (W + GAP) + (W - 1) / 2 for c in range(C)] if heads else [], heads)
    axes.xaxis.tick_top()


HALF_BLOCK = "▀"
RAMP = " .:-=+*#%@"
"""Darkest to brightest, one cell for two pixels."""
COLUMN_GAP = 1
ROW_AIM = 8
"""Pictures that a row should hold before they are shrunk to half their size."""
LEAST_LEGIBLE = 2
"""The factor by which a picture may be shrunk: smaller, a digit is a blob."""
MOST_LINES = 48
"""Of pictures whose rows mean nothing: enough to fill a screen."""


@dataclass(frozen=True)
class PictureRows:
    """Rich renderable: grey images in rows as wide as the console, two pixels to a cell.

    The upper half block `▀` shows one pixel in its foreground and one in its background colour;
    Rich brings the grey down to what the terminal has (true colour, 256 or 16 colours). Where
    colour is off or the stream cannot carry the block, a ramp of ASCII characters takes its place.
    As many pictures are shown as are legible; a last line says so where that is not all.

    Args:
        images: (N, H, W) or (R, C, H, W), anything numpy reads; floats in [0, 1] or uint8.
        columns: pictures a row; by default as many as fit, or C. Where they do not fit, some of the
            columns are shown, from the first to the last.
        max_rows: rows shown, from the top, without a word about the others; 0 shows all.
    """

    images: object
    columns: int = 0
    max_rows: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw row after row with a gap between pictures."""
        import numpy as np

        images = as_images(self.images)
        N, C = len(images), self.columns or (images.shape[1] if images.ndim == 4 else 0)
        factor = _factor(images.shape[-1], wanted=C or min(N, ROW_AIM), width=options.max_width)
        fitting = max(1, _per_row(images.shape[-1], factor=factor, width=options.max_width))
        if C:
            rows = as_rows(images, columns=C)
            rows = rows[:, np.linspace(0, C - 1, min(C, fitting)).round().astype(int)]
            note = f"{fitting} of {C} columns" if fitting < C else ""
        else:
            lines = -(-images.shape[-2] // (2 * factor)) + 1
            shown = images[: fitting * max(1, MOST_LINES // lines)]
            rows = as_rows(shown, columns=min(fitting, N))
            note = f"{len(shown)} of {N} pictures" if len(shown) < N else ""
        colour = has_colour(console, options)
        for index, row in enumerate(rows[: self.max_rows or None]):
            if index:
                yield Segment.line()
            yield from _cells(_side_by_side(_shrunk(row, factor=factor)), colour=colour)
        if note and not self.max_rows:
            yield Segment(f"({note} shown)")
            yield Segment.line()


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


def _factor(side: int, *, wanted: int, width: int) -> int:
    """Return by what whole factor pictures are shrunk for a row to hold `wanted`."""
    factor = 1
    while factor < LEAST_LEGIBLE and _per_row(side, factor=factor, width=width) < wanted:
        factor += 1
    return factor


def _per_row(side: int, *, factor: int, width: int) -> int:
    picture = -(-side // factor)
    return (width + COLUMN_GAP) // (picture + COLUMN_GAP)


def _shrunk(images: Floats, *, factor: int) -> Floats:
    """Average blocks of factor × factor pixels; the last block may be padded with black."""
    import numpy as np

    if factor == 1:
        return images
    N, H, W = images.shape
    padded = np.pad(images, ((0, 0), (0, -H % factor), (0, -W % factor)))
    blocks: Floats = padded.reshape(
        N, padded.shape[1] // factor, factor, padded.shape[2] // factor, factor
    )
    means: Floats = blocks.mean(axis=(2, 4))
    return means


def _side_by_side(images: Floats) -> Floats:
    """Join (N, H, W) into one (H', W') with gaps of NaN; H' is even, padded with NaN below."""
    import numpy as np

    row = join_rows(images[None], gap=COLUMN_GAP)
    return np.pad(row, ((0, len(row) % 2), (0, 0)), constant_values=np.nan)


def _cells(pixels: Floats, *, colour: bool) -> Iterator[Segment]:
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
