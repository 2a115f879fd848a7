"""A matrix with words on both axes as a figure, like the seed's Figure 3.

Legend: T rows (target words), S columns (source words).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlcli.report.canvas import (
    FAINT,
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
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
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


def matrix_figure(
    path: Path,
    matrix: object,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str = "",
    unit: str = "attention weight",
) -> Figure:
    """Draw a matrix as shaded cells, white for 0 and dark for its largest value, and save it.

    Args:
        path: PNG, SVG or PDF.
        matrix: (T, S), not negative.
        rows: T names, at the left.
        columns: S names, on top, standing upright.
        title: above everything.
        unit: what the shades measure.
    """
    values = as_matrix(matrix, rows=len(rows), columns=len(columns))
    T, S = values.shape
    with house_style():
        figure = new_figure(1, 1, layout=None)
        names, heads = [label(name) for name in rows], [label(name) for name in columns]
        shown = label(title, longest=200)
        title_width, title_height = text_size(figure, shown, points=FONT_POINTS + 1)
        left = max(text_size(figure, name)[0] for name in names) + 2 * MARGIN
        top = max(text_size(figure, head)[0] for head in heads) + 2 * (MARGIN + title_height)
        cell = min(CELL, LARGEST / max(T, S))
        wide, high = S * cell, T * cell
        width = max(left + wide + SIDE, title_width + 2 * MARGIN)
        height = max(top + high + MARGIN, LEAST_HEIGHT)
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
        _scale(figure, image, place=place, unit=unit)
        middle = min(max((left + wide / 2) / width, title_width / 2 / width), 0.5)
        place_title(figure, shown, x=middle, margin=MARGIN)
        save_figure(figure, path)
    return figure


def _scale(
    figure: Figure, image: AxesImage, *, place: tuple[float, float, float, float], unit: str
) -> None:
    """Draw what the shades mean."""
    bar = figure.colorbar(image, cax=figure.add_axes(place))
    bar.set_label(label(unit), fontsize=FONT_POINTS - 2)
    bar.ax.tick_params(labelsize=FONT_POINTS - 2)
    bar.outline.set_visible(False)
