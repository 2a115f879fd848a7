"""Plain words and numbers as HTML: `code`, *emphasis*, sub- and superscripts, signs.

Everything is escaped first, so that no name of a run or message of an error becomes markup.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`]+)`")
_EMPHASIS = re.compile(r"\*([^*\s][^*]*)\*")
_POWER = re.compile(r"\^\{?([-−]?\d+)\}?")
_INDEX = re.compile(r"(?<=[A-Za-zμσαΣ∂)])_(?:\{([^}]+)\}|([A-Za-z]+))")
_EXPONENT = re.compile(r"e([+-])0*(\d+)\b")
_MINUS = re.compile(r"(?<![\w.])-(?=[\d.∞i])")


def prose(text: str) -> Markup:
    """Set words: `code` stands as it is, the rest knows emphasis, powers and indices."""
    parts = _CODE.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else _words(part)
        for place, part in enumerate(parts)
    )


def formula(text: str) -> Markup:
    """Set a formula on a line of its own; three spaces or more are a wide gap."""
    pieces = re.split(r" {3,}", text)
    return Markup('<span class="gap"></span>').join(_raised(str(escape(one))) for one in pieces)


def amount(text: str) -> Markup:
    """Set a number: a true minus, and 1.2e-16 as a power of ten."""
    exact = _MINUS.sub("−", str(escape(text)))
    found = _EXPONENT.sub(lambda m: f"\u2009×\u200910<sup>{_sign(m[1])}{m[2]}</sup>", exact)
    return Markup(found)


def _sign(sign: str) -> str:
    return "−" if sign == "-" else ""


def _words(text: str) -> Markup:
    return _raised(_EMPHASIS.sub(r"<em>\1</em>", str(escape(text))))


def _raised(escaped: str) -> Markup:
    true = _MINUS.sub("−", escaped)
    low = _INDEX.sub(lambda m: f"<sub>{m[1] or m[2]}</sub>", true)
    return Markup(_POWER.sub(r"<sup>\1</sup>", low))
