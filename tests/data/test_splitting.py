from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcli.data.sentences import (
    TEST,
    TRAIN,
    VALID,
    Tally,
    sentence_key,
    split_connected,
    split_corpus,
    stable_hash,
)
from dlcli.errors import DataError


def test_the_hash_is_the_same_everywhere() -> None:
    assert stable_hash("go") == 11176960828788041012


@pytest.mark.parametrize(
    ("one", "other"), [("Run!", "run."), ("C'est ça ?", "c’est ça"), ("  A  b ", "a, b")]
)
def test_case_and_punctuation_make_no_other_sentence(one: str, other: str) -> None:
    assert sentence_key(one) == sentence_key(other)


def test_sentences_without_words_are_their_own_key() -> None:
    assert sentence_key("?!") == "?!"


def test_the_split_of_a_list_is_known() -> None:
    source = [f"sentence {n}" for n in range(12)]
    target = [f"phrase {n}" for n in range(12)]
    assert split_connected(source, target, held_out=2) == {
        TRAIN: [0, 1, 4, 5, 6, 7, 10, 11],
        VALID: [2, 8],
        TEST: [3, 9],
    }


def test_the_order_of_the_lines_does_not_matter() -> None:
    pairs = [(f"s {n}", f"t {n % 17}") for n in range(60)]
    turned = pairs[::-1]
    for split in (VALID, TEST):
        one = split_connected(*zip(*pairs, strict=True), held_out=8)[split]
        other = split_connected(*zip(*turned, strict=True), held_out=8)[split]
        assert {pairs[place] for place in one} == {turned[place] for place in other}


WORDS = st.sampled_from([f"w{n}" for n in range(25)])


@given(st.lists(st.tuples(WORDS, WORDS), max_size=40), st.integers(1, 5))
def test_no_sentence_of_either_language_is_in_two_splits(
    pairs: list[tuple[str, str]], held_out: int
) -> None:
    dealt = split_connected([a for a, _ in pairs], [b for _, b in pairs], held_out=held_out)
    assert sorted(place for places in dealt.values() for place in places) == [*range(len(pairs))]
    for side in (0, 1):
        seen = [{pairs[place][side] for place in places} for places in dealt.values()]
        assert sum(map(len, seen)) == len(set().union(*seen))


def test_connections_reach_through_other_pairs() -> None:
    pairs = [("a", "x"), ("b", "x"), ("b", "y"), ("c", "y"), ("d", "z"), ("e", "w")]
    dealt = split_connected(*zip(*pairs, strict=True), held_out=1)
    assert dealt[TRAIN] == [0, 1, 2, 3]
    assert sorted(dealt[VALID] + dealt[TEST]) == [4, 5]


def test_three_pairs_are_one_for_each_split() -> None:
    corpus = split_corpus(
        [("a", "x"), ("b", "y"), ("c", "z")], name="tiny", held_out=1, tally=Tally()
    )
    assert [len(corpus.train), len(corpus.valid), len(corpus.tests["test"])] == [1, 1, 1]


@pytest.mark.parametrize(
    "pairs", [[], [("a", "x")], [("a", "x"), ("b", "y")], [("a", "x"), ("b", "x"), ("c", "x")]]
)
def test_what_cannot_be_split_is_an_error(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(DataError, match=rf"tiny has {len(pairs)} pairs? of sentences, too few"):
        split_corpus(pairs, name="tiny", held_out=1, tally=Tally())
