"""Learning curves: how the losses of a run, or of several, came down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlcli.report.canvas import colour, house_style, label, new_figure, save_figure
from dlcli.report.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, object]
Series = tuple[Sequence[float], Sequence[float]]

SIDES = {"train": "training", "valid": "validation"}
UNITS = {"bleu": "BLEU", "chrf": "chrF", "accuracy": "fraction"}
"""Measured in something else than nats."""
NOT_LOSSES = ("train_s",)
MOST_PANELS = 6
MARKERS_UP_TO = 15
"""Points a line may have to show each as a dot."""
FAR = 3.0
"""Times the best loss: a run whose own best is higher is not in the frame."""
SETTLED = 0.05
"""The share of points at the start that may lie above the frame: they would flatten the rest."""


def loss_curves(path: Path, rows: Sequence[Row], *, title: str = "") -> Figure:
    """Draw the loss and each of its parts over the epochs, training and validation together.

    Args:
        path: PNG, SVG or PDF.
        rows: the lines of metrics.jsonl: `epoch`, `step`, `train_*`, `valid_*`; null is left out.
        title: above everything.

    Raises:
        RunFailed: the path cannot be written.
    """
    names = _measures(rows)[:MOST_PANELS]
    axis, unit = _axis(rows)
    with house_style():
        across = max(1, min(3, len(names)))
        down = max(1, math.ceil(len(names) / across))
        figure = new_figure(max(4.0, 3.1 * across), 2.7 * down)
        for index, name in enumerate(names):
            axes = figure.add_subplot(down, across, index + 1)
            _panel(axes, rows, name=name, axis=axis)
            axes.set_xlabel(unit)
        if not names:
            figure.text(0.5, 0.5, "nothing measured yet", ha="center", va="center")
        if title:
            figure.suptitle(label(title, longest=120))
        save_figure(figure, path)
    return figure


def compare_curves(
    path: Path,
    curves: Mapping[str, Series],
    *,
    x_label: str = "epoch",
    y_label: str = "loss (nats)",
    title: str = "",
) -> Figure:
    """Draw one curve a run in one frame, named beside it.

    Args:
        path: PNG, SVG or PDF.
        curves: name → (x, y); an empty one keeps its place in the legend.
        x_label: what x is, with its unit.
        y_label: what y is, with its unit.
        title: above the frame.
    """
    with house_style():
        figure = new_figure(7.0, max(3.4, 0.22 * len(curves) + 1.0))
        axes = figure.add_subplot()
        inside = _within_reach([y for _, y in curves.values()])
        for index, (name, (x, y)) in enumerate(curves.items()):
            _draw(axes, x, y, name=label(name) + _absence(y, inside=inside), index=index)
        _frame(axes, inside)
        axes.set_xlabel(label(x_label))
        axes.set_ylabel(label(y_label))
        axes.set_title(label(title, longest=120))
        if curves:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3)
        save_figure(figure, path)
    return figure


def _within_reach(series: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Leave out series that never came near the best: one that diverged would flatten the rest."""
    best = [min(filter(math.isfinite, values), default=math.inf) for values in series]
    least = min(best, default=math.inf)
    reach = least + (FAR - 1) * abs(least) if least else math.inf
    return [values for values, low in zip(series, best, strict=True) if low <= reach < math.inf]


def _absence(values: Sequence[float], *, inside: Sequence[Sequence[float]]) -> str:
    """Say in the legend why a series is not to be seen."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return " (no values)"
    return "" if any(values is one for one in inside) else f" (above: {number(min(finite))})"


def _panel(axes: Axes, rows: Sequence[Row], *, name: str, axis: str) -> None:
    drawn = []
    for index, side in enumerate(SIDES):
        points = _points(rows, key=f"{side}_{name}", axis=axis)
        if points[0]:
            _draw(axes, *points, name=SIDES[side], index=index)
            drawn.append(points[1])
    _frame(axes, drawn)
    axes.set_title(label(name.replace("_", " ")))
    axes.set_ylabel(UNITS.get(name, "nats"))
    axes.legend(loc="best")


def _draw(axes: Axes, x: Sequence[float], y: Sequence[float], *, name: str, index: int) -> None:
    marker = "o" if len(x) <= MARKERS_UP_TO else ""
    style = "-" if index < 8 else "--"
    axes.plot(x, y, label=name, color=colour(index), marker=marker, linestyle=style)


def _frame(axes: Axes, series: Sequence[Sequence[float]]) -> None:
    """Let the first few values leave the frame at the top, where there are many."""
    settled = [
        value
        for values in series
        for value in values[math.ceil(SETTLED * len(values)) if len(values) >= 20 else 0 :]
        if math.isfinite(value)
    ]
    if settled:
        low, high = min(settled), max(settled)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)
    if all(len(values) <= MARKERS_UP_TO for values in series):
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _measures(rows: Sequence[Row]) -> list[str]:
    """Return what was measured, without its side, the loss first."""
    found: dict[str, None] = {}
    for row in rows:
        for key, value in row.items():
            side, _, name = key.partition("_")
            if side in SIDES and name and key not in NOT_LOSSES and _is_number(value):
                found.setdefault(name)
    return sorted(found, key=lambda name: name != "loss")


def _axis(rows: Sequence[Row]) -> tuple[str, str]:
    """Count in epochs, or in updates where an epoch has several evaluations."""
    epochs = [row.get("epoch") for row in rows]
    return ("epoch", "epoch") if len(set(epochs)) == len(epochs) else ("step", "update")


def _points(rows: Sequence[Row], *, key: str, axis: str) -> tuple[list[float], list[float]]:
    x, y = [], []
    for row in rows:
        at, value = row.get(axis), row.get(key)
        if isinstance(at, int | float) and isinstance(value, int | float) and _is_number(value):
            x.append(float(at))
            y.append(float(value))
    return x, y


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
