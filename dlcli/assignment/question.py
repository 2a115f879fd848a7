"""What an answer consists of: words, numbers with their signatures, figures, commands.

All are plain values that survive a trip through JSON, so that an answer can be kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlcli.display.plots import scaled
from dlcli.errors import UsageFault

if TYPE_CHECKING:
    from dlcli.assignment.lab import Lab


@dataclass(frozen=True, kw_only=True)
class Number:
    """A measured number; texts know `code`, *emphasis* and nothing else."""

    name: str
    value: float | None
    error: float | None = None
    """One standard error (or standard deviation: see `spread`)."""
    spread: str = "standard error"
    """What `error` is, or what `ci95` is over."""
    ci95: tuple[float | None, float | None] | None = None
    """None at an end is infinity there."""
    unit: str = ""
    digits: int = 4
    """Significant digits where there is no error to tell how many count."""
    reference: str = ""
    """The published, exact or otherwise known figure to hold it against, with its source."""
    signature: str
    """All that changes the number, in one line."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture."""

    svg: str
    alt: str
    """What is to be seen, for those who do not see it."""
    caption: str
    is_picture: bool = False
    """Of pixels, which want white paper behind them, rather than of lines."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a question came to."""

    words: tuple[str, ...]
    """Paragraphs."""
    formula: str = ""
    numbers: tuple[Number, ...]
    figures: tuple[Figure, ...]
    commands: tuple[str, ...]
    """That make these numbers and figures one by one."""
    notes: tuple[str, ...] = ()
    """What the reader should know before trusting the numbers: another data set, few samples."""


def read_answer(fields: Mapping[str, Any]) -> Answer:
    """Rebuild an answer from JSON.

    Raises:
        TypeError, KeyError: fields are missing or unknown.
    """
    return Answer(
        words=tuple(fields["words"]),
        formula=fields["formula"],
        numbers=tuple(_read_number(number) for number in fields["numbers"]),
        figures=tuple(Figure(**figure) for figure in fields["figures"]),
        commands=tuple(fields["commands"]),
        notes=tuple(fields["notes"]),
    )


def _read_number(fields: Mapping[str, Any]) -> Number:
    ci95 = fields["ci95"]
    return Number(**{**fields, "ci95": None if ci95 is None else (ci95[0], ci95[1])})


# -- A question: what it asks, and how it is answered

Need = Literal["vae", "nmt", "images", "sentences"]
"""What an answer depends on beside the settings: packaged models, and the data sets at hand."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One of the assignment's questions."""

    number: int
    chapter: str
    title: str
    asks: str
    """The question in our own words."""
    answer: Callable[[Lab], Answer]
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A question with what became of it: an answer, or why there is none."""

    question: Question
    answer: Answer | None
    kept: bool = False
    """Whether the answer was there from an earlier report."""
    failure: str = ""
    hint: str = ""
    elapsed_s: float = 0.0


def select(questions: Sequence[Question], wanted: Sequence[int]) -> list[Question]:
    """Return the questions of these numbers, in the catalogue's order; all where none is named.

    Raises:
        UsageFault: there is no question of a number.
    """
    known = [question.number for question in questions]
    for number in wanted:
        if number not in known:
            raise UsageFault(
                f"There is no section {number} in the report.",
                hint=f"Choose from {', '.join(map(str, known))}.",
            )
    return [question for question in questions if not wanted or question.number in wanted]


# -- Figures as text: what the commands draw into files, read back for the page

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
