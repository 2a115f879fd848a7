"""Lines with bands, and bars with intervals: numbers against a size, a depth or a count."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlcli.report.canvas import INK, colour, house_style, label, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_INSIDE_UP_TO = 4
LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = "osD^vP*X"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series, with the band of its interval where it has one; NaN leaves a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Slope:
    """A reference y ∝ x^exponent through one point: a straight line on two logarithmic axes."""

    exponent: float
    through: tuple[float, float]
    name: str = ""
    """By default `slope -0.5`."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A horizontal reference, such as the truth."""

    name: str
    y: float


def lines(
    path: Path,
    series: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    slopes: Sequence[Slope] = (),
    levels: Sequence[Level] = (),
    note: str = "",
) -> Figure:
    """Draw series with their bands and references into one frame, and save the figure.

    Args:
        path: PNG, SVG or PDF.
        series: told apart by colour and by marker.
        x_label: what x is, with its unit.
        y_label: what y is, with its unit.
        title: above the frame.
        log_x: logarithmic x axis; ticks stand at the x of the series where they are few.
        log_y: logarithmic y axis; values ≤ 0 are left out.
        slopes: power laws, broken lines named at their right end.
        levels: horizontal lines, dotted.
        note: small, under the axes: a signature, say.

    Raises:
        ValueError: a series' lengths differ.
        RunFailed: the path cannot be written.
    """
    with house_style():
        figure = new_figure(6.4, 3.9)
        axes = figure.add_subplot()
        if log_x:
            axes.set_xscale("log")
        if log_y:
            axes.set_yscale("log", nonpositive="mask")
        for index, line in enumerate(series):
            _line(axes, line, index=index)
        _references(axes, series, slopes=slopes, levels=levels)
        if log_x:
            _ticks_at(axes, sorted({x for line in series for x in line.x}))
        axes.set_xlabel(label(x_label, longest=80))
        axes.set_ylabel(label(y_label, longest=60))
        axes.set_title(label(title, longest=90))
        _legend(axes, entries=len(series) + len(levels))
        _note(figure, note)
        save_figure(figure, path)
    return figure


def bars(
    path: Path,
    values: Mapping[str, float],
    *,
    value_label: str,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    levels: Sequence[Level] = (),
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw one horizontal bar a name, with its interval, the first on top; save the figure.

    Args:
        path: PNG, SVG or PDF.
        values: name → value; one that is not finite has no bar.
        value_label: what the values are, with their unit.
        intervals: name → (low, high).
        levels: references across the bars.
        title: above the frame.
        note: small, under the axes.
    """
    with house_style():
        figure = new_figure(6.4, max(2.0, 0.32 * len(values) + 1.3))
        axes = figure.add_subplot()
        places = range(len(values))
        lengths = [value if math.isfinite(value) else math.nan for value in values.values()]
        axes.barh(places, lengths, color=colour(0), height=0.62)
        for place, name in zip(places, values, strict=True):
            if intervals and name in intervals:
                low, high = intervals[name]
                axes.plot([low, high], [place, place], color=INK, linewidth=1.4)
                axes.plot([low, high], [place, place], color=INK, marker="|", linestyle="")
        for index, level in enumerate(levels):
            style = LINE_STYLES[(index + 2) % len(LINE_STYLES)]
            axes.axvline(level.y, color=INK, linestyle=style, label=label(level.name))
        axes.set_yticks(places, [label(name) for name in values])
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.set_xlabel(label(value_label, longest=80))
        axes.set_title(label(title, longest=90))
        if levels:
            _legend(axes, entries=LEGEND_INSIDE_UP_TO + 1)
        _note(figure, note)
        save_figure(figure, path)
    return figure


def _line(axes: Axes, line: Line, *, index: int) -> None:
    if not len(line.x) == len(line.y) or len(line.low) != len(line.high):
        raise ValueError(f"the values of '{line.name}' do not pair up")
    axes.plot(
        line.x,
        line.y,
        label=label(line.name),
        color=colour(index),
        marker=MARKERS[index % len(MARKERS)] if len(line.x) <= 40 else "",
        linestyle="-" if index < len(MARKERS) else "--",
    )
    if len(line.low):
        axes.fill_between(line.x, line.low, line.high, color=colour(index), alpha=0.18, linewidth=0)


def _references(
    axes: Axes, series: Sequence[Line], *, slopes: Sequence[Slope], levels: Sequence[Level]
) -> None:
    """Draw power laws across the series' x, and levels; the frame stays that of the data."""
    frame = axes.get_ylim()
    every = [x for line in series for x in line.x if math.isfinite(x) and x > 0]
    for index, slope in enumerate(slopes):
        at, value = slope.through
        ends = [min(every, default=at), max(every, default=at)]
        name = slope.name or f"slope {slope.exponent:g}"
        y = [value * (x / at) ** slope.exponent for x in ends]
        style = LINE_STYLES[1 + index % 3]
        axes.plot(ends, y, color=INK, linewidth=1.0, linestyle=style)
        text = label(name, longest=24)
        axes.annotate(text, (ends[1], y[1]), xytext=(4, 0), textcoords="offset points", fontsize=7)
    for index, level in enumerate(levels):
        style = LINE_STYLES[(index + 2) % len(LINE_STYLES)]
        axes.axhline(level.y, color=INK, linewidth=1.0, linestyle=style, label=label(level.name))
    if series and not slopes and not levels:
        axes.set_ylim(frame)


def _ticks_at(axes: Axes, places: Sequence[float]) -> None:
    """Name the very places that were measured, where they are few and apart."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    positive = [x for x in places if x > 0]
    apart = all(b / a > 1.35 for a, b in itertools.pairwise(positive))
    if 2 <= len(positive) <= 10 and apart and max(positive) < 1e6:
        axes.xaxis.set_major_locator(FixedLocator(positive))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _legend(axes: Axes, *, entries: int) -> None:
    if entries > LEGEND_INSIDE_UP_TO:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3)
    elif entries:
        axes.legend(loc="best")


def _note(figure: Figure, note: str) -> None:
    if note:
        figure.supxlabel(label(note, longest=140), fontsize=6, x=0.01, ha="left")
