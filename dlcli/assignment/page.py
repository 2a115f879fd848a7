"""Plain words and numbers as HTML: `code`, *emphasis*, sub- and superscripts, signs.

Everything is escaped first, so that no name of a run or message of an error becomes markup.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dlcli.display.plots import (
    Line,
    colour,
    house_style,
    inline,
    label,
    lines,
    new_figure,
    save_figure,
)
from dlcli.display.tables import number, with_error

if TYPE_CHECKING:
    from dlcli.assignment.question import Answer, Number, Section

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


# -- Figures that only the report draws: bounds, latents, variances, losses, lengths, factors


def bounds_figure(
    path: Path, *, samples: Sequence[int], values: Sequence[float], errors: Sequence[float]
) -> None:
    """Draw lower bounds of log p(x) against their number of samples, with a band of one error."""
    pairs = list(zip(values, errors, strict=True))
    line = Line(
        name="lower bound of log p(x)",
        x=[float(count) for count in samples],
        y=values,
        low=[value - error for value, error in pairs],
        high=[value + error for value, error in pairs],
    )
    lines(
        path,
        [line],
        x_label="importance samples k (k = 1 is the ELBO)",
        y_label="nats an image",
        log_x=True,
    )


def latent_figure(costs: Sequence[float], path: Path) -> None:
    """Draw what each latent pays, in the order given."""
    with house_style():
        figure = new_figure(6.4, 2.6)
        axes = figure.add_subplot()
        axes.bar(range(1, len(costs) + 1), costs, color=colour(0), width=0.7)
        axes.set_xlabel("latent, by what it pays")
        axes.set_ylabel("KL (nats)")
        axes.grid(False, axis="x")
        save_figure(figure, path)


def variance_figure(variances: Mapping[str, float], path: Path) -> None:
    """Draw positive amounts as bars on a logarithmic scale, the first on top."""
    with house_style():
        figure = new_figure(6.4, 2.0)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.barh(range(len(variances)), list(variances.values()), color=colour(0), height=0.6)
        axes.set_xlim(min(variances.values()) / 10, max(variances.values()) * 3)
        axes.set_yticks(range(len(variances)), [label(name) for name in variances])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("trace of the covariance of one draw's gradient")
        save_figure(figure, path)


def losses_figure(losses: Mapping[str, float], path: Path) -> None:
    """Draw a few losses as bars, the first on top, each with its value."""
    with house_style():
        figure = new_figure(6.4, 0.5 * len(losses) + 0.8)
        axes = figure.add_subplot()
        bars = axes.barh(range(len(losses)), list(losses.values()), color=colour(0), height=0.6)
        axes.bar_label(bars, fmt="%.4f", padding=4)
        axes.margins(x=0.15)
        axes.set_yticks(range(len(losses)), [label(name) for name in losses])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("nats a token")
        save_figure(figure, path)


def factors_figure(
    series: Mapping[str, Sequence[float]], path: Path, *, steps: Sequence[float], placement: str
) -> None:
    """Draw a gradient's norm and its bounds at the input of every sublayer."""
    lines(
        path,
        [Line(name=name, x=steps, y=values) for name, values in series.items()],
        x_label="sublayer, counted from the input",
        y_label="norm of dloss/dx",
        title=f"{placement}-norm",
        log_y=True,
    )


# -- Sections in, one self-contained HTML file out

INTERVAL_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """A number as the page's table shows it."""

    name: str
    shown: str
    unit: str
    spread: str
    reference: str
    mark: str
    """The letter of its signature."""


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What stands above the sections."""

    version: str
    mode: str
    command: str


def render(sections: Sequence[Section], *, heading: Heading) -> str:
    """Write the page; the same sections give the same text."""
    template = _environment().get_template("report.html.j2")
    chapters = [
        (name, list(group))
        for name, group in itertools.groupby(sections, lambda one: one.question.chapter)
    ]
    return template.render(
        heading=heading,
        chapters=chapters,
        answered=sum(section.answer is not None for section in sections),
        failed=[section for section in sections if section.answer is None],
        total=len(sections),
    )


def rows(answer: Answer) -> list[Row]:
    """Return an answer's numbers as rows, each with the letter of its signature."""
    marks = dict(signatures(answer))
    letters = {line: letter for letter, line in marks.items()}
    return [
        Row(
            name=one.name,
            shown=shown(one),
            unit=one.unit,
            spread=one.spread if one.error is not None or one.ci95 is not None else "",
            reference=one.reference,
            mark=letters[one.signature],
        )
        for one in answer.numbers
    ]


def signatures(answer: Answer) -> list[tuple[str, str]]:
    """Return the signatures of an answer's numbers, each once, with letters."""
    lines = list(dict.fromkeys(one.signature for one in answer.numbers))
    return list(zip(_letters(), lines, strict=False))


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


def _letters() -> itertools.chain[str]:
    """Give a, b, …, z, aa, ab, …"""
    small = string.ascii_lowercase
    pairs = ("".join(pair) for pair in itertools.product(small, repeat=2))
    return itertools.chain(small, pairs)


def _figures(section: Section) -> list[tuple[Markup, str, bool]]:
    assert section.answer is not None, "only answers have figures"
    return [
        (
            inline(
                one.svg,
                name=f"q{section.question.number}f{place}",
                alt=one.alt,
                is_picture=one.is_picture,
            ),
            one.caption,
            one.is_picture,
        )
        for place, one in enumerate(section.answer.figures, start=1)
    ]


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("dlcli.assignment", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Any] = {
        "prose": prose,
        "formula": formula,
        "amount": amount,
        "rows": rows,
        "signatures": signatures,
        "figures": _figures,
    }
    found.filters.update(filters)
    return found
