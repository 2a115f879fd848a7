"""Figures inside a page: identifiers of their own, the page's colours, and words beside them.

Several figures in one document would share identifiers, and ink that is black on white paper could
not be read in the dark.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from dlcli.report.canvas import FAINT, INK, OKABE_ITO

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
