"""A question: what it asks, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dlcli.errors import UsageFault

if TYPE_CHECKING:
    from dlcli.study.questions.answer import Answer
    from dlcli.study.questions.lab import Lab

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
