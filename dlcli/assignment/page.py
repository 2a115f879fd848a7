"""Sections in, one self-contained HTML file out.

Plain words and numbers become HTML: `code`, *emphasis*, sub- and superscripts, signs. Everything is
escaped first, so that no name of a run or message of an error becomes markup.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from dlcli.display.page import assemble, templates
from dlcli.display.plots import inline
from dlcli.display.tables import number, with_error

if TYPE_CHECKING:
    from dlcli.assignment.question import Answer, Figure, Number
    from dlcli.assignment.report import Section

INTERVAL_DIGITS = 4
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What stands above the sections."""

    version: str
    mode: str
    command: str


def render(sections: Sequence[Section], *, heading: Heading) -> str:
    """Write the page; the same sections give the same text."""
    filters: dict[str, Callable[..., Any]] = {
        "prose": prose,
        "code": code,
        "formula": formula,
        "amount": amount,
        "marks": marks,
        "shown": shown,
        "figure": _figure,
    }
    chapters = [
        (name, list(group))
        for name, group in itertools.groupby(sections, lambda one: one.question.chapter)
    ]
    body = (
        templates(TEMPLATES, filters)
        .get_template("report.html.j2")
        .render(
            heading=heading,
            chapters=chapters,
            answered=sum(section.answer is not None for section in sections),
            failed=[section for section in sections if section.answer is None],
            total=len(sections),
        )
    )
    return assemble(
        Markup(body),
        title="Deep learning, measured: a laboratory report",
        description="Sixteen questions about variational auto-encoders, attention and layer "
        "normalisation, answered by measurement.",
        skip="Skip to the questions",
        styles=[TEMPLATES / "style.css"],
    )


def marks(answer: Answer) -> dict[str, str]:
    """Return the signatures of an answer's numbers, each once, with letters: a, b, …, z, aa, …"""
    small = string.ascii_lowercase
    pairs = ("".join(pair) for pair in itertools.product(small, repeat=2))
    lines = dict.fromkeys(one.signature for one in answer.numbers)
    return dict(zip(lines, itertools.chain(small, pairs), strict=False))


def shown(one: Number) -> str:
    """Write a number with as many digits as its uncertainty allows."""
    if one.error is not None and one.value is not None:
        return with_error(one.value, one.error)
    value = number(one.value, digits=one.digits)
    if one.ci95 is None:
        return value
    digits = max(one.digits, INTERVAL_DIGITS) if one.digits > 3 else one.digits
    low = "-∞" if one.ci95[0] is None else number(one.ci95[0], digits=digits)
    high = "∞" if one.ci95[1] is None else number(one.ci95[1], digits=digits)
    return f"{value} [{low}, {high}]"


def _figure(one: Figure, *, name: str) -> Markup:
    return inline(one.svg, name=name, alt=one.alt, is_picture=one.is_picture)


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
        code(part) if place % 2 else _words(part) for place, part in enumerate(parts)
    )


def code(text: str) -> Markup:
    """Set code so that a line breaks between its words, and not behind the `--` of an option."""
    words = (Markup('<span class="word">{}</span>').format(word) for word in text.split(" "))
    return Markup("<code>{}</code>").format(Markup(" ").join(words))


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
