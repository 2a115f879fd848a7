"""Figures as text: what the commands draw into files, read back for the page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from dlcli.report.canvas import scaled
from dlcli.study.questions.answer import Figure

SCALE = 0.85
"""Of line figures: a page on a telephone is narrow, and their text must still be read."""


def figure(
    draw: Callable[[Path], object], *, alt: str, caption: str, is_picture: bool = False
) -> Figure:
    """Let `draw` write a figure into the SVG file it is given, and return that as text."""
    with tempfile.TemporaryDirectory(prefix="dl-report-") as folder:
        path = Path(folder) / "figure.svg"
        with scaled(SCALE):
            draw(path)
        svg = path.read_text(encoding="utf-8")
    return Figure(svg=svg, alt=alt, caption=caption, is_picture=is_picture)
