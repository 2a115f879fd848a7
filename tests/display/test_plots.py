"""Figures: what is drawn and named, the same bytes each time, and figures inside a page."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from dlcli.display import plots
from dlcli.display.plots import (
    Level,
    Line,
    Slope,
    house_style,
    inline,
    label,
    lines,
    new_figure,
    save_figure,
    scaled,
)
from dlcli.errors import DlError, UsageFault

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


def test_many_series_have_their_legend_outside() -> None:
    series = [Line(name=f"D = {d}", x=[1, 10, 100], y=[d, d, d]) for d in range(6)]
    figure = lines(Path("a.svg"), series, x_label="x", y_label="y")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    figure.canvas.draw()
    assert legend.get_window_extent().x0 >= figure.axes[0].get_window_extent().x1


def test_gaps_zeros_single_points_and_nothing_do_not_fail() -> None:
    odd = Line(name="odd", x=[1, 2, 3, 4], y=[1.0, math.nan, 0.0, math.inf])
    lone = Line(name="lone", x=[2], y=[1.0])
    lines(Path("a.png"), [odd, lone], x_label="x", y_label="y", log_x=True, log_y=True)
    lines(Path("b.png"), [], x_label="x", y_label="y")


def test_values_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(ValueError, match="pair up"):
        lines(Path("a.png"), [Line(name="a", x=[1, 2], y=[1])], x_label="x", y_label="y")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_the_same_figure_has_the_same_bytes_in_every_format(suffix: str) -> None:
    one, two = Path("one" + suffix), Path("two" + suffix)
    for path in (one, two):
        lines(path, [PRE], x_label="x", y_label="汉字 $x$", log_x=True)
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_size > 500


@pytest.mark.parametrize(
    ("text", "font"),
    [
        ("\U00013000\U00013001", "Noto Sans Egyptian"),
        ("猫が", "Noto Sans CJK"),
        ("한국어", "Noto Sans CJK"),
        ("แมว", "Noto Sans Thai"),
        ("नमस्ते", "Noto Sans Devanagari"),
        ("🪐", "Noto Sans Symbols 2"),
    ],
)
def test_a_character_that_no_font_has_is_remarked_on_once_with_a_font_that_has_it(
    text: str, font: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plots, "_remarked", False)
    monkeypatch.setattr(plots, "_fonts_with", lambda _: ())
    for name in ("a.png", "b.svg"):
        lines(Path(name), [PRE], x_label="x", y_label=text)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"warning: No font here has '{text[0]}': figures show a box for it.")
    assert f"{font} (in many systems" in said


def test_another_font_is_taken_for_what_the_usual_one_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plots, "_remarked", False)
    usual = plots.families("Gruß, привет, שלום, سلام, ქართული")
    assert usual == plots.families("plain") == ["DejaVu Sans"]
    text = "x\u1d15"  # what matplotlib brings has it, in other fonts
    assert plots.families(text)[0] == "DejaVu Sans"
    assert len(plots.families(text)) == 2
    lines(Path("a.png"), [PRE], x_label="x", y_label=text)
    assert capsys.readouterr().err == ""


def test_text_that_is_written_from_the_right_is_drawn_so() -> None:
    def drawn(text: str) -> bytes:
        with house_style():
            figure = new_figure(2, 1)
            figure.text(0.1, 0.5, text)
            save_figure(figure, Path("a.png"))
        return Path("a.png").read_bytes()

    assert drawn("\u202dםולש") == drawn("שלום") != drawn("םולש")  # the mark: as it stands


def test_the_users_settings_change_nothing_and_are_not_changed() -> None:
    with matplotlib.rc_context({"font.size": 30.0, "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        with house_style():
            assert matplotlib.rcParams["font.size"] == 9.0
            assert matplotlib.rcParams["axes.grid"]
        assert dict(matplotlib.rcParams) == before


def test_a_figure_goes_to_a_path_that_can_be_written_and_names_its_format() -> None:
    with pytest.raises(UsageFault) as caught:
        save_figure(new_figure(1, 1), Path("x.jpg"))
    assert ".svg" in caught.value.hint
    Path("file").write_text("in the way")
    with pytest.raises(DlError, match="file"):
        save_figure(new_figure(1, 1), Path("file/x.png"))


def test_labels_are_one_short_line_and_no_formula() -> None:
    assert label("a\n b") == "a b"
    assert label("x" * 99, longest=10) == "x" * 9 + "…"
    assert label("$5 and $6") == r"\$5 and \$6"


def test_a_scaled_figure_is_smaller_and_the_next_one_is_not() -> None:
    with scaled(0.5):
        small = new_figure(4, 2)
    assert small.get_size_inches().tolist() == [2, 1]
    assert new_figure(4, 2).get_size_inches().tolist() == [4, 2]


def test_a_figure_in_a_page_has_its_own_identifiers_and_the_pages_ink() -> None:
    lines(Path("a.svg"), [PRE], x_label="x", y_label="y")
    svg = Path("a.svg").read_text(encoding="utf-8")
    plot = inline(svg, name="q1f1", alt='"x" < y', is_picture=False)
    ids = set(re.findall(r'\bid="([^"]+)"', plot))
    links = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', plot))
    assert ids
    assert all(name.startswith("q1f1-") for name in ids)
    assert {one or other for one, other in links} <= ids
    ElementTree.fromstring(plot)
    assert 'role="img" aria-label="&#34;x&#34; &lt; y"' in plot
    assert "var(--ink)" in plot
    for gone in ("#333333", "fill: #ffffff", "<metadata>"):
        assert gone not in plot
    picture = inline(svg, name="a", alt="a", is_picture=True)
    assert "fill: #ffffff" in picture, "a picture keeps its paper"
    with pytest.raises(ValueError, match="no SVG"):
        inline("<p>", name="a", alt="a", is_picture=False)
