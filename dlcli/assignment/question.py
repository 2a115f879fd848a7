"""A question and its answer: words, numbers with their signatures, figures, commands.

The words stand in `templates/questions.yaml`; code measures the numbers and draws the figures.
Answers are plain values that survive a trip through JSON, so that they can be kept.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from dlcli.assignment.lab import Lab, Need
from dlcli.display.plots import scaled

SCALE = 0.85
"""Of line figures: a page on a telephone is narrow, and their text must still be read."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A measured number; its texts know `code`, *emphasis* and nothing else."""

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


def question(
    number: int, *, needs: tuple[Need, ...] = ()
) -> Callable[[Callable[[Lab, Text], Answer]], Question]:
    """Make a question of the function that answers it, with the words of its number.

    Args:
        number: of the question, in the assignment and in `questions.yaml`.
        needs: what its answer is made from.
    """

    def decorate(measure: Callable[[Lab, Text], Answer]) -> Question:
        text = Text(number)
        return Question(
            number=number,
            chapter=text.fields["chapter"],
            title=text.fields["title"],
            asks=text.fields["asks"],
            answer=lambda lab: measure(lab, text),
            needs=needs,
        )

    return decorate


@dataclass(frozen=True)
class Text:
    """The words of one question, whose `{names}` are filled in by what was measured."""

    number: int

    @property
    def fields(self) -> Mapping[str, Any]:
        """Everything that `questions.yaml` says of the question."""
        found: Mapping[str, Any] = _texts()[self.number]
        return found

    def answer(
        self,
        *,
        numbers: Sequence[Number],
        figures: Sequence[Figure],
        commands: Sequence[str],
        notes: Sequence[str] = (),
        **facts: object,
    ) -> Answer:
        """Put an answer together; `facts` go into its paragraphs, and empty notes are left out."""
        return Answer(
            words=tuple(paragraph.format(**facts) for paragraph in self.fields["words"]),
            formula=self.fields.get("formula", ""),
            numbers=tuple(numbers),
            figures=tuple(figures),
            commands=tuple(commands),
            notes=tuple(filter(None, notes)),
        )

    def published(self, which: str) -> str:
        """Return a published figure with its source."""
        return str(self.fields["published"][which])

    def note(self, which: str, /, **facts: object) -> str:
        """Return a note."""
        return str(self.fields["notes"][which]).format(**facts)

    def figure(
        self,
        which: str,
        draw: Callable[[Path], object],
        /,
        *,
        is_picture: bool = False,
        **facts: object,
    ) -> Figure:
        """Let `draw` write a figure into the SVG file it is given, and set its words beside it."""
        words = self.fields["figures"][which]
        return Figure(
            svg=drawn(draw),
            alt=words["alt"].format(**facts),
            caption=words["caption"].format(**facts),
            is_picture=is_picture,
        )


def drawn(draw: Callable[[Path], object]) -> str:
    """Return as text what `draw` writes into the SVG file it is given."""
    with tempfile.TemporaryDirectory(prefix="dl-report-") as folder:
        path = Path(folder) / "figure.svg"
        with scaled(SCALE):
            draw(path)
        return path.read_text(encoding="utf-8")


@functools.cache
def _texts() -> Mapping[int, Any]:
    file = resources.files("dlcli.assignment") / "templates" / "questions.yaml"
    found: Mapping[int, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


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
