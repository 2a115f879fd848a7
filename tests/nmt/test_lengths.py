"""Bins by length: every sentence in one of them, in none twice."""

from __future__ import annotations

import pytest

from dlcli.errors import UsageFault
from dlcli.nmt.scoring import length_bins, longer_than, word_counts


def test_words_are_what_stands_between_spaces() -> None:
    assert word_counts(["", "one", " two  words. ", "l'accord a"]) == [0, 1, 2, 2]


def test_bins_part_the_sentences() -> None:
    lengths = [3, 5, 6, 0, 21, 10, 5]
    bins = length_bins(lengths, edges=[5, 10, 15])
    assert [(one.low, one.high, one.name) for one in bins] == [
        (0, 5, "0-5"),
        (6, 10, "6-10"),
        (16, None, "> 15"),
    ]
    assert [one.rows for one in bins] == [(0, 1, 3, 6), (2, 5), (4,)]
    assert sorted(row for one in bins for row in one.rows) == list(range(7))


def test_all_above_each_edge() -> None:
    found = longer_than([3, 5, 6, 0, 21, 10, 5], edges=[5, 10, 15])
    assert [(one.name, one.rows) for one in found] == [("> 5", (2, 4, 5)), ("> 10", (4,))]
    assert longer_than([3], edges=[5, 10]) == []


@pytest.mark.parametrize("edges", [[5, 5], [10, 5], [0, 5]])
def test_edges_must_rise(edges: list[int]) -> None:
    with pytest.raises(UsageFault, match="do not rise"):
        length_bins([1], edges=edges)
