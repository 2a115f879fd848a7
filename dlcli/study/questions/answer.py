"""What an answer consists of: words, numbers with their signatures, figures, commands.

All are plain values that survive a trip through JSON, so that an answer can be kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
