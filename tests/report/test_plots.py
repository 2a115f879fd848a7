"""Lines with bands and bars: series, references and their names."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dlcli.display.plots import Level, Line, Slope, bars, lines

DEPTHS = [2.0, 4.0, 8.0, 16.0]
PRE = Line(
    name="pre-norm",
    x=DEPTHS,
    y=[x**-0.5 for x in DEPTHS],
    low=[0.9 * x**-0.5 for x in DEPTHS],
    high=[1.1 * x**-0.5 for x in DEPTHS],
)


def test_series_bands_and_references_are_drawn_and_named() -> None:
    figure = lines(
        Path("a.png"),
        [PRE, Line(name="post-norm", x=DEPTHS, y=[1.0] * 4)],
        x_label="depth L (layers)",
        y_label="gradient norm",
        log_x=True,
        log_y=True,
        slopes=[Slope(exponent=-0.5, through=(2.0, 2**-0.5))],
        levels=[Level(name="truth", y=0.3)],
        note="seed:0|version:x",
    )
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["pre-norm", "post-norm", "truth"]
    assert [text.get_text() for text in axes.texts] == ["slope -0.5"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlabel() == "depth L (layers)"
    figure.canvas.draw()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "4", "8", "16"]
    assert len(axes.collections) == 1
    slope = axes.get_lines()[2]
    x, y = np.asarray(slope.get_xdata()), np.asarray(slope.get_ydata())
    assert np.diff(np.log(y)) / np.diff(np.log(x)) == pytest.approx([-0.5])
    low, high = axes.get_ylim()
    assert low < 0.25
    assert high > 1.0


def test_many_series_have_their_legend_outside() -> None:
    series = [Line(name=f"D = {d}", x=[1, 10, 100], y=[d, d, d]) for d in range(6)]
    figure = lines(Path("a.svg"), series, x_label="x", y_label="y")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    figure.canvas.draw()
    assert legend.get_window_extent().x0 >= figure.axes[0].get_window_extent().x1


def test_gaps_zeros_and_single_points_do_not_fail() -> None:
    odd = Line(name="odd", x=[1, 2, 3, 4], y=[1.0, math.nan, 0.0, math.inf])
    lone = Line(name="lone", x=[2], y=[1.0])
    figure = lines(
        Path("a.png"), [odd, lone], x_label="x", y_label="y", log_x=True, log_y=True, title="$1 $2"
    )
    assert figure.axes[0].get_title() == r"\$1 \$2"
    lines(Path("b.png"), [], x_label="x", y_label="y")


def test_values_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(ValueError, match="pair up"):
        lines(Path("a.png"), [Line(name="a", x=[1, 2], y=[1])], x_label="x", y_label="y")


def test_bars_have_names_lengths_intervals_and_levels() -> None:
    figure = bars(
        Path("a.png"),
        {"post": 8.45, "pre": 33.0, "diverged": math.nan},
        value_label="BLEU",
        intervals={"pre": (32.0, 34.0)},
        levels=[Level(name="published", y=34.0)],
        title="Warm-up",
    )
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["post", "pre", "diverged"]
    assert [patch.get_width() for patch in axes.patches][:2] == [8.45, 33.0]  # type: ignore[attr-defined]
    assert axes.get_xlabel() == "BLEU"
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["published"]
    low, high = axes.get_ylim()
    assert low > 2 > 0 > high


def test_the_same_plot_has_the_same_bytes() -> None:
    for name in ("a.pdf", "b.pdf"):
        lines(Path(name), [PRE], x_label="x", y_label="y", log_x=True)
    assert Path("a.pdf").read_bytes() == Path("b.pdf").read_bytes()
