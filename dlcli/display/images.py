"""Images as files, as figures and in the terminal: a pixel in, a pixel out, never resampled.

Legend: N images, R rows, C columns of images, H × W pixels. Pixels of colour have a last axis of
three; grey ones have none.
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
        images: (N, H, W) or (R, C, H, W), or of colour (N, H, W, 3) or (R, C, H, W, 3); anything
            that numpy reads.

    Raises:
        ValueError: another shape, or no image at all.
    """
    import numpy as np

    raw = np.asarray(images)
    if raw.ndim - is_colour(raw) not in (3, 4) or 0 in raw.shape:
        raise ValueError(
            f"pictures have the shape (N, H, W) or (R, C, H, W), and 3 of colour, not {raw.shape}"
        )
    scaled = raw / 255.0 if raw.dtype == np.uint8 else raw.astype(np.float64)
    return np.clip(np.nan_to_num(scaled, nan=0.0), 0.0, 1.0)


def is_colour(images: NDArray[Any]) -> bool:
    """Tell images of colour from grey ones, which may be three pixels wide where they are few."""
    return images.ndim == 5 or (images.ndim == 4 and images.shape[-1] == 3)


def as_rows(images: object, *, columns: int = 0) -> Floats:
    """Lay images out as (R, C, H, W) or (R, C, H, W, 3); the last row is filled up with NaN.

    Args:
        images: (N, H, W), cut into rows, or (R, C, H, W), left as it is; or of colour.
        columns: C for (N, H, W); as square as can be where 0.
    """
    import numpy as np

    pictures = as_images(images)
    if pictures.ndim - is_colour(pictures) == 4:
        return pictures
    N, *shape = pictures.shape
    C = columns or math.ceil(math.sqrt(N))
    R = math.ceil(N / C)
    rows = np.full((R * C, *shape), np.nan)
    rows[:N] = pictures
    return rows.reshape(R, C, *shape)


def join_rows(rows: Floats, *, gap: int = 0) -> Floats:
    """Join (R, C, H, W) into one (R·H + gaps, C·W + gaps), colour likewise; gaps are NaN."""
    import numpy as np

    R, C, H, W, *three = rows.shape
    wide = ((0, 0), (0, 0), (0, gap), (0, gap), *[(0, 0) for _ in three])
    spaced = np.pad(rows, wide, constant_values=np.nan)
    joined: Floats = spaced.swapaxes(1, 2).reshape(R * (H + gap), C * (W + gap), *three)
    return joined[: R * (H + gap) - gap, : C * (W + gap) - gap]


def save_png(path: Path, images: object) -> Path:
    """Write `png_bytes` of images to a file.

    Returns:
        the absolute path.

    Raises:
        RunFailed: `path` cannot be written.
    """
    return write_file(path, png_bytes(images))


def png_bytes(images: object) -> bytes:
    """Make images (N, H, W) or (N, H, W, 3) one PNG of exactly their pixels, without gaps."""
    import numpy as np
    from PIL import Image

    pixels = np.nan_to_num(join_rows(as_rows(images)), nan=0.0)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255.0).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def read_png(path: Path, *, size: tuple[int, int]) -> Floats:
    """Cut the pixels of `save_png` back into (R, C, H, W) or (R, C, H, W, 3), in [0, 1].

    Args:
        path: of the picture.
        size: H and W.
    """
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB" if image.mode == "RGB" else "L")) / 255.0
    H, W = size
    R, C = pixels.shape[0] // H, pixels.shape[1] // W
    whole = pixels[: R * H, : C * W]
    return whole.reshape(R, H, C, W, *whole.shape[2:]).swapaxes(1, 2)


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
        images: (N, H, W) or (R, C, H, W), or of colour; floats in [0, 1] or uint8.
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
        _ticks(axes, rows.shape[:4], names=names, heads=heads)
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
    """Rich renderable: images in rows as wide as the console, two pixels to a cell.

    The upper half block `▀` shows one pixel in its foreground and one in its background colour;
    Rich brings it down to what the terminal has (true colour, 256 or 16 colours). Where
    colour is off or the stream cannot carry the block, a ramp of ASCII characters takes its place.
    As many pictures are shown as are legible; a last line says so where that is not all.

    Args:
        images: (N, H, W) or (R, C, H, W), or of colour, anything numpy reads; floats in [0, 1] or
            uint8.
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
        in_rows = images.ndim - is_colour(images) == 4
        N, C = len(images), self.columns or (images.shape[1] if in_rows else 0)
        H, W = images.shape[2:4] if in_rows else images.shape[1:3]
        factor = _factor(W, wanted=C or min(N, ROW_AIM), width=options.max_width)
        fitting = max(1, _per_row(W, factor=factor, width=options.max_width))
        if C:
            rows = as_rows(images, columns=C)
            rows = rows[:, np.linspace(0, C - 1, min(C, fitting)).round().astype(int)]
            note = f"{fitting} of {C} columns" if fitting < C else ""
        else:
            lines = -(-H // (2 * factor)) + 1
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


Level = tuple[float, ...]
"""A pixel in [0, 1]: one number of grey, three of colour."""


def shade(upper: Level, lower: Level) -> Style:
    """Return the style of a half block with these pixels above and below.

    A new one each time: a Rich style remembers the codes of the first terminal it was drawn on.
    """
    above, below = ([round(part * 255) for part in level] for level in (upper, lower))
    (r, g, b), (r2, g2, b2) = (part * 3 if len(part) == 1 else part for part in (above, below))
    return Style(color=Color.from_rgb(r, g, b), bgcolor=Color.from_rgb(r2, g2, b2))


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
    N, H, W, *three = images.shape
    padded = np.pad(images, ((0, 0), (0, -H % factor), (0, -W % factor), *[(0, 0) for _ in three]))
    blocks: Floats = padded.reshape(
        N, padded.shape[1] // factor, factor, padded.shape[2] // factor, factor, *three
    )
    means: Floats = blocks.mean(axis=(2, 4))
    return means


def _side_by_side(images: Floats) -> Floats:
    """Join (N, H, W) into one (H', W', 1 or 3) with gaps of NaN; H' is even, NaN below."""
    import numpy as np

    row = join_rows(images[None], gap=COLUMN_GAP)
    row = row if row.ndim == 3 else row[..., None]
    return np.pad(row, ((0, len(row) % 2), (0, 0), (0, 0)), constant_values=np.nan)


def _cells(pixels: Floats, *, colour: bool) -> Iterator[Segment]:
    """Yield one line of segments for each two rows of pixels; NaN is left empty."""
    import numpy as np

    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        pairs = [
            None
            if np.isnan(top).any()
            else (tuple(top.tolist()), tuple(np.nan_to_num(bottom).tolist()))
            for top, bottom in zip(upper, lower, strict=True)
        ]
        for pair, run in groupby(pairs):
            length = len(list(run))
            if pair is None:
                yield Segment(" " * length)
            elif colour:
                yield Segment(HALF_BLOCK * length, shade(*pair))
            else:
                level = sum(sum(part) / len(part) for part in pair) / 2
                yield Segment(ramp_character(level) * length)
        yield Segment.line()
