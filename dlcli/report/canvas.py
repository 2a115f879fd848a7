"""What all figures share: one style, exact sizes, and saving to the same bytes each time.

Only matplotlib's object interface is used; nothing global is left changed.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from dlcli.errors import UsageFault
from dlcli.report.output import write_file

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
def house_style() -> Iterator[None]:
    """Draw in this package's style whatever the user's matplotlibrc says, then restore that."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(cast(Any, STYLE))
        yield


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
    suffix = picture_suffix(path)
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format=suffix[1:], metadata=METADATA[suffix])
    return write_file(path, buffer.getvalue())


def picture_suffix(path: Path) -> str:
    """Return a picture's suffix in small letters; to be asked before hours of work go into it.

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
