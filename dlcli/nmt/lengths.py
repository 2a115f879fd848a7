"""Sentences put into bins by their length: Question 13 asks how translation decays with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlcli.errors import UsageFault


@dataclass(frozen=True, kw_only=True)
class LengthBin:
    """Sentences of `low` to `high` words."""

    low: int
    high: int | None
    """None: any number."""
    rows: tuple[int, ...]
    """Which sentences, from 0."""

    @property
    def name(self) -> str:
        """Name the bin: `6-10`, or `> 15`."""
        return f"{self.low}-{self.high}" if self.high is not None else f"> {self.low - 1}"


def word_counts(sentences: Sequence[str]) -> list[int]:
    """Count the words of each sentence: what stands between spaces."""
    return [len(sentence.split()) for sentence in sentences]


def length_bins(lengths: Sequence[int], *, edges: Sequence[int]) -> list[LengthBin]:
    """Sort sentences into bins that end at each edge, and one above the last; empty ones drop out.

    Raises:
        UsageFault: the edges do not rise.
    """
    _check(edges)
    ends = [*edges, None]
    starts = [0, *(edge + 1 for edge in edges)]
    found = [_between(lengths, low, high) for low, high in zip(starts, ends, strict=True)]
    return [one for one in found if one.rows]


def longer_than(lengths: Sequence[int], *, edges: Sequence[int]) -> list[LengthBin]:
    """Return for each edge all sentences above it; the last edge's is a bin of `length_bins`."""
    _check(edges)
    found = [_between(lengths, edge + 1, None) for edge in edges[:-1]]
    return [one for one in found if one.rows]


def _between(lengths: Sequence[int], low: int, high: int | None) -> LengthBin:
    rows = tuple(
        row
        for row, length in enumerate(lengths)
        if length >= low and (high is None or length <= high)
    )
    return LengthBin(low=low, high=high, rows=rows)


def _check(edges: Sequence[int]) -> None:
    if list(edges) != sorted(set(edges)) or any(edge < 1 for edge in edges):
        raise UsageFault(
            f"--bins {' '.join(map(str, edges))} do not rise.", hint="Write --bins 5 10 15 20."
        )
