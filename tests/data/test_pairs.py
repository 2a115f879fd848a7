from __future__ import annotations

import pytest

from dlcli.data.sentences import Corpus, Pairs
from dlcli.errors import ConfigError

PAIRS = Pairs(source=("a b", "c"), target=("x y z", "w"), links=("0-2 1-0", "0-0"))


def _corpus() -> Corpus:
    plain = Pairs(source=("d",), target=("v",))
    tests = {"test_one": plain, "test_two": PAIRS}
    return Corpus(name="tiny", languages=("en", "fr"), train=PAIRS, valid=plain, tests=tests)


def test_sides_must_be_of_one_length() -> None:
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        Pairs(source=("a", "b"), target=("x",))
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        Pairs(source=("a", "b"), target=("x", "y"), links=("0-0",))


def test_swapping_turns_sides_and_links_and_back() -> None:
    swapped = PAIRS.swapped()
    assert (swapped.source, swapped.target) == (PAIRS.target, PAIRS.source)
    assert swapped.links == ("0-1 2-0", "0-0")
    assert swapped.swapped().links == ("0-2 1-0", "0-0")


def test_first_keeps_sides_and_links_together() -> None:
    first = PAIRS.first(1)
    assert (len(first), first.source, first.target, first.links) == (
        1,
        ("a b",),
        ("x y z",),
        ("0-2 1-0",),
    )
    assert len(PAIRS.first(9)) == 2


def test_a_corpus_swaps_every_split() -> None:
    swapped = _corpus().swapped()
    assert swapped.languages == ("fr", "en")
    assert swapped.train.source == PAIRS.target
    assert swapped.valid.source == ("v",)
    assert swapped.tests["test_two"].source == PAIRS.target


def test_splits_by_name() -> None:
    corpus = _corpus()
    assert corpus.split("train") is corpus.train
    assert corpus.split("test") is corpus.split("test_one")
    assert corpus.split("test_two") is PAIRS
    with pytest.raises(ConfigError, match="no split 'tset'") as caught:
        corpus.split("tset")
    assert "test_two" in caught.value.hint
