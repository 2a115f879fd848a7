"""Figures: one style, exact sizes, the same bytes each time; lines with bands; SVG in a page.

Only matplotlib's object interface is used; nothing global is left changed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import logging
import math
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from markupsafe import Markup, escape

from dlcli.display.console import Consoles, write_file
from dlcli.errors import UsageFault

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Eight colours that people with any colour vision tell apart (Okabe & Ito 2008); yellow last."""
INK, FAINT = "#333333", "#DDDDDD"
DPI = 150
FONT_POINTS = 9.0
LONGEST_LABEL = 48

STYLE: dict[str, Any] = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_POINTS,
    "axes.titlesize": FONT_POINTS + 1,
    "axes.labelsize": FONT_POINTS,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "legend.fontsize": FONT_POINTS - 1,
    "svg.hashsalt": "dlcli",
    "pdf.fonttype": 42,
}

METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Suffix → what is left out of a file so that the same figure has the same bytes."""


_scale: ContextVar[float] = ContextVar("scale", default=1.0)


@contextmanager
def scaled(scale: float) -> Iterator[None]:
    """Make figures smaller (or larger) around text of the same size, as a narrow page wants them.

    Figures that measure themselves by their contents, such as grids of images, stay as they are.
    """
    token = _scale.set(scale)
    try:
        yield
    finally:
        _scale.reset(token)


@contextmanager
def house_style(text: str = "") -> Iterator[None]:
    """Draw in this package's style whatever the user's matplotlibrc says, then restore that.

    Characters that no font here has are drawn as boxes, and once remarked on.

    Args:
        text: what is measured before it is drawn, for its fonts; `save_figure` finds those of all
            text that is drawn.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it remarks on a missing cache folder
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("always", message=MISSING_GLYPH, category=UserWarning)
        warnings.showwarning = partial(_note_missing_glyph, otherwise=warnings.showwarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(cast(Any, {**STYLE, "font.family": families(text)}))
        yield


MISSING_GLYPH = r"Glyph (\d+) .*missing from"
_remarked = False


def _note_missing_glyph(
    message: Warning | str, *rest: Any, otherwise: Callable[..., object], **named: Any
) -> None:
    global _remarked
    found = re.match(MISSING_GLYPH, str(message))
    if found is None:
        otherwise(message, *rest, **named)
    elif not _remarked:
        _remarked = True
        character = chr(int(found[1]))
        Consoles().warning(
            f"No font here has '{character}': figures show a box for it. {_font_of(character)} has "
            "it, and so may others; install one and draw again."
        )


CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH")


def _font_of(character: str) -> str:
    """Name a font that has the script of a character, and the package that it is often in."""
    script = unicodedata.name(character, "").partition(" ")[0]
    if script in CJK:
        return "Noto Sans CJK (in many systems the package fonts-noto-cjk)"
    if unicodedata.category(character)[0] in "LM" and script:
        return f"Noto Sans {script.title()} (in many systems in the package fonts-noto-core)"
    return "Noto Sans Symbols 2 (in many systems in the package fonts-noto-core)"


def families(text: str) -> list[str]:
    """Return the fonts that a text is drawn with: the usual one, and those for what it lacks."""
    usual: list[str] = STYLE["font.family"]
    if text.isascii():
        return list(usual)
    lacking = {ord(letter) for letter in text if letter.isprintable()} - _usual_characters()
    return [*usual, *_fonts_with(frozenset(lacking))] if lacking else list(usual)


@functools.cache
def _usual_characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont(STYLE["font.family"][0])).get_charmap())


@functools.cache
def _fonts_with(characters: frozenset[int]) -> tuple[str, ...]:
    """Find fonts on this machine that have some characters, as few as will do.

    matplotlib keeps a list of fonts, which does not know those installed since it was made.
    """
    from matplotlib.font_manager import findSystemFonts, fontManager
    from matplotlib.ft2font import FT2Font

    known = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(findSystemFonts()) - known):
        with contextlib.suppress(Exception):  # a font that cannot be read is not taken
            fontManager.addfont(path)
    has: dict[str, frozenset[int]] = {}
    for entry in fontManager.ttflist:
        usable = entry.style == "normal" and not entry.name.startswith("Last Resort")
        if usable and entry.name not in has and entry.weight in (400, "normal", "regular"):
            with contextlib.suppress(Exception):
                font = FT2Font(entry.fname, face_index=entry.index)
                has[entry.name] = characters & font.get_charmap().keys()
    japanese = any(0x3040 < character < 0x3100 for character in characters)
    found, missing = list[str](), characters

    def rank(name: str) -> tuple[int, bool, bool, str]:
        plain = "Sans" in name and "Mono" not in name
        region = name.endswith("JP") if japanese else name.endswith("SC")
        return -len(has[name] & missing), not plain, not region, name

    while missing and has[best := min(has, key=rank)] & missing:
        found.append(best)
        missing -= has[best]
    return tuple(found)


def new_figure(
    width: float, height: float, *, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """Make an empty figure, width × height inches, tied to no window and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scale = _scale.get()
    figure = Figure(figsize=(scale * width, scale * height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, SVG or PDF, by the path's suffix; return the absolute path.

    Raises:
        UsageFault: another suffix.
        RunFailed: the path cannot be written; what was there before is untouched.
    """
    from matplotlib.text import Text

    suffix = picture_suffix(path)
    buffer = io.BytesIO()
    texts = cast("list[Text]", figure.findobj(Text))
    fonts = families("".join(text.get_text() for text in texts))
    for text in texts:
        text.set_fontfamily(fonts)
    with house_style():
        figure.savefig(buffer, format=suffix[1:], metadata=METADATA[suffix])
    return write_file(path, buffer.getvalue())


def picture_suffix(path: Path) -> str:
    """Return a picture's suffix in small letters; call it before hours of work go into it.

    Raises:
        UsageFault: it is none that a figure can be saved as.
    """
    suffix = path.suffix.lower()
    if suffix not in METADATA:
        raise UsageFault(
            f"{path} does not say which picture format it wants.",
            hint=f"End it with {', '.join(METADATA)}.",
        )
    return suffix


def label(text: str, *, longest: int = LONGEST_LABEL) -> str:
    """Prepare a user's words for a figure: one line, not too long, `$` a dollar and no formula."""
    line = " ".join(str(text).split())
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    return line.replace("$", r"\$")


def text_size(figure: Figure, text: str, *, points: float = FONT_POINTS) -> tuple[float, float]:
    """Measure one line of text in inches: width, height; nothing is (0, 0)."""
    if not text:
        return 0.0, 0.0
    drawn = figure.text(0, 0, text, fontsize=points)
    box = drawn.get_window_extent()
    drawn.remove()
    return float(box.width / figure.dpi), float(box.height / figure.dpi)


def place_title(figure: Figure, title: str, *, x: float, margin: float) -> None:
    """Write a title at the top of a figure, `margin` inches from its edge; nothing where empty."""
    if title:
        y = 1 - margin / figure.get_size_inches()[1]
        figure.text(x, y, title, ha="center", va="top", fontsize=FONT_POINTS + 1)


def quiet_axes(axes: Axes) -> None:
    """Strip axes of frame, grid and tick marks; tick labels stay."""
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def colour(index: int) -> str:
    """Return the palette's colour for a series, counted from 0; it repeats after eight."""
    return OKABE_ITO[index % len(OKABE_ITO)]


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
        series: each with a colour and a marker of its own.
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
        places = sorted({x for line in series for x in line.x})
        if log_x:
            _ticks_at(axes, places)
        elif all(float(x).is_integer() for x in places):
            axes.locator_params(axis="x", integer=True)
        axes.set_xlabel(label(x_label, longest=80))
        axes.set_ylabel(label(y_label, longest=60))
        axes.set_title(label(title, longest=90))
        _legend(axes, entries=len(series) + len(levels))
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
    """Draw power laws across the series' x, and levels."""
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


_HEAD = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_OPENING = re.compile(r"<svg\b[^>]*>")
_VIEW = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_ID = re.compile(r'(\bid="|href="#|url\(#)')
PIXELS_PER_POINT = 96 / 72

INKS = {
    INK: "var(--ink)",
    FAINT.lower(): "var(--rule)",
    "#000000": "var(--ink)",
    **{colour.lower(): f"var(--series-{place})" for place, colour in enumerate(OKABE_ITO[:4])},
}
"""Colours of the canvas → those of the page, in figures of lines."""


def inline(svg: str, *, name: str, alt: str, is_picture: bool) -> Markup:
    """Make an SVG file's text fit to stand in a page.

    Several figures in one document would share identifiers, and black ink could not be read on a
    dark page: a figure gets identifiers of its own and, if it is of lines, the page's colours.

    Args:
        svg: as matplotlib wrote it.
        name: of the figure in the page; becomes part of its identifiers.
        alt: what is to be seen.
        is_picture: keep white paper and black ink.

    Raises:
        ValueError: it is no SVG with a view box.
    """
    body = _METADATA.sub("", _HEAD.sub("", svg, count=1)).strip()
    opening, view = _OPENING.search(body), _VIEW.search(body)
    if opening is None or view is None:
        raise ValueError("a figure is no SVG with a view box")
    inner = _ID.sub(rf"\g<1>{name}-", body[opening.end() :])
    if not is_picture:
        for colour, themed in INKS.items():
            inner = inner.replace(f": {colour}", f": {themed}")
        inner = inner.replace("fill: #ffffff", "fill: none")
    width, height = (round(float(size) * PIXELS_PER_POINT) for size in view.groups())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'role="img" aria-label="{escape(alt)}" width="{width}" height="{height}" '
        f"{view.group(0)}>"
    )
    return Markup(head + inner)
