"""A question and its answer: words, numbers with their signatures, figures, commands.

The words stand in `templates/questions.yaml`; code measures the numbers and draws the figures. A
question is a generator of `Part`s, which are put in order here. Answers are plain values that
survive a trip through JSON, so that they can be kept.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from dlcli.assignment.lab import Lab
from dlcli.display.plots import scaled

SCALE = 0.85
"""Of line figures: a page on a telephone is narrow, and their text must still be read."""


@dataclass(frozen=True)
class Number:
    """A measured number; its texts know `code`, *emphasis* and nothing else."""

    name: str
    value: float | None
    unit: str
    signature: str
    """All that changes the number, in one line."""
    _: KW_ONLY
    error: float | None = None
    """One standard error (or standard deviation: see `spread`)."""
    spread: str = "standard error"
    """What `error` is, or what `ci95` is over."""
    ci95: tuple[float | None, float | None] | None = None
    """None at an end is infinity there."""
    digits: int = 4
    """Significant digits where there is no error to tell how many count."""
    reference: str = ""
    """The published, exact or otherwise known figure to hold it against, with its source."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture."""

    svg: str
    alt: str
    """What is to be seen, for those who do not see it."""
    caption: str
    is_picture: bool = False
    """Of pixels, which want white paper behind them, rather than of lines."""


class Paragraph(str):
    """Of the answer's words."""


class Command(str):
    """That makes some of the numbers and figures."""


class Note(str):
    """What to know before trusting the numbers: another data set, few samples. May be empty."""


Part = Number | Figure | Paragraph | Command | Note


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a question came to."""

    words: tuple[str, ...]
    """Paragraphs."""
    formula: str = ""
    numbers: tuple[Number, ...]
    figures: tuple[Figure, ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Question:
    """One of the assignment's questions."""

    number: int
    chapter: str
    title: str
    asks: str
    """The question in our own words."""
    answer: Callable[[Lab], Answer]


def question(number: int) -> Callable[[Callable[[Lab, Text], Iterator[Part]]], Question]:
    """Make a question of the function that yields its answer, with the words of its number."""

    def decorate(measure: Callable[[Lab, Text], Iterator[Part]]) -> Question:
        text = Text(number)

        def answer(lab: Lab) -> Answer:
            parts = list(measure(lab, text))
            if not any(isinstance(part, Paragraph) for part in parts):
                parts.extend(text.words())
            return Answer(
                words=tuple(str(part) for part in parts if isinstance(part, Paragraph)),
                formula=text.fields.get("formula", ""),
                numbers=tuple(part for part in parts if isinstance(part, Number)),
                figures=tuple(part for part in parts if isinstance(part, Figure)),
                commands=tuple(str(part) for part in parts if isinstance(part, Command)),
                notes=tuple(str(part) for part in parts if isinstance(part, Note) and part),
            )

        names = ("chapter", "title", "asks")
        return Question(number=number, answer=answer, **{name: text.fields[name] for name in names})

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

    def words(self, **facts: object) -> Iterator[Paragraph]:
        """Give the answer's paragraphs; a question yields them only where they name facts."""
        for paragraph in self.fields["words"]:
            yield Paragraph(paragraph.format(**facts))

    def published(self, which: str) -> str:
        """Return a published figure with its source."""
        return str(self.fields["published"][which])

    def note(self, which: str, /, **facts: object) -> Note:
        """Return a note."""
        return Note(self.fields["notes"][which].format(**facts))

    def stored(self) -> Iterator[Part]:
        """Give the results of long trainings that were measured once, and how."""
        stored = self.fields["stored"]
        yield from TypeAdapter(list[Number]).validate_python(stored["numbers"])
        yield Command(stored["command"])
        yield Note(stored["note"])

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


def read_answer(text: str) -> Answer:
    """Rebuild an answer from JSON.

    Raises:
        ValueError: it is none.
    """
    return TypeAdapter(Answer).validate_json(text)
