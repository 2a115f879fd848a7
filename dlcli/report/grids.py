"""Grids of images as figures: each pixel of an image is a square of whole pixels on paper.

Legend: N images, R rows, C columns of images, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlcli.report.canvas import (
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
from dlcli.report.pixels import as_rows, join_rows

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

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
    grids: Sequence[NDArray[np.float64]],
    *,
    left: float,
    top: float,
    title: str,
) -> list[Axes]:
    """Size the figure to its panels and place one axes on each; sizes in inches."""
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
        axes.imshow(_on_paper(pixels), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_aspect("auto")
        quiet_axes(axes)
        drawn.append(axes)
        start = round((start + wide + spacing) * DPI) / DPI
    return drawn


def _on_paper(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave gaps as white as the paper."""
    import numpy as np

    return np.nan_to_num(pixels, nan=1.0)


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
