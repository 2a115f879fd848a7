"""Lines that are longer than what the model was trained on: cut into parts it can translate."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+")
PLACES = (re.compile(r"(?<=[;:])\s+"), re.compile(r"(?<=,)\s+"), re.compile(r"\s+"))
"""Where a sentence may be cut, the best kind of place first."""


def cut_passage(text: str, *, fits: Callable[[str], bool]) -> list[str]:
    """Cut a text into parts that fit: at the ends of sentences, and only then within them.

    Args:
        text: one line.
        fits: whether a part is short enough; a single character always is.

    Returns:
        One text, if it fits as it is; joined by spaces, parts give the text back, except where a
        word was too long.
    """
    if fits(text):
        return [text]
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    bounds = [0, *ends, len(text)]
    sentences = [text[a:b].strip() for a, b in itertools.pairwise(bounds)]
    return [part for one in sentences if one for part in _halves(one, fits=fits)]


def _halves(text: str, *, fits: Callable[[str], bool]) -> list[str]:
    """Cut a sentence near its middle until its parts fit."""
    waiting, found = [text], []
    while waiting:
        part = waiting.pop()
        if len(part) < 2 or fits(part):
            found.append(part)
            continue
        middle = len(part) // 2
        start, end = next(
            (
                min(spans, key=lambda span: abs(span[0] - middle))
                for place in PLACES
                if (spans := [match.span() for match in place.finditer(part)])
            ),
            (middle, middle),
        )
        waiting += [part[end:], part[:start]]
    return found
