"""The corpus: splits that share nothing, determinism, the words it asks for."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import islice

import pytest

from dlcli.data.grammar.clauses import say_sentence
from dlcli.data.grammar.corpus import LONGEST, SHORTEST, draw, famous, load_grammar, meanings
from dlcli.data.grammar.holdout import split_of
from dlcli.data.grammar.meaning import combinations
from dlcli.data.sentences import Corpus, Pairs, split_words


def _words(pairs: Pairs) -> Counter[str]:
    return Counter(word.text for text in pairs.target for word in split_words(text))


def test_the_famous_sentence_is_the_first_of_the_test(corpus: Corpus) -> None:
    example, test = say_sentence(famous()), corpus.tests["test"]
    assert test.links is not None
    assert (test.source[0], test.target[0], test.links[0]) == (
        example.source,
        example.target,
        example.links,
    )
    assert example.source not in corpus.train.source
    assert example.target not in corpus.train.target


def test_no_sentence_is_twice_in_the_corpus(corpus: Corpus) -> None:
    every = (corpus.train, corpus.valid, corpus.tests["test"])
    for side in ("source", "target"):
        texts = [text for pairs in every for text in getattr(pairs, side)]
        assert len(texts) == len(set(texts)) == 12_900


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_held_out_combinations_are_where_they_belong(split: str) -> None:
    drawn = islice(meanings(split, seed=3), 3_000 if split == "train" else 300)  # type: ignore[arg-type]
    for meaning in drawn:
        claims = {split_of(combination) for combination in combinations(meaning)}
        assert claims <= {"train", split}
        assert split == "train" or split in claims


def test_every_word_of_the_test_occurs_in_training(corpus: Corpus) -> None:
    """In the default corpus none is rarer than a handful; this one is a quarter of it."""
    known = _words(corpus.train)
    unknown = [word for word in _words(corpus.tests["test"]) if not known[word]]
    assert len(unknown) < 0.02 * len(_words(corpus.tests["test"]))


def test_there_are_many_french_words_and_lengths(corpus: Corpus) -> None:
    assert len(_words(corpus.train)) >= 1_000
    every = [*corpus.train.source, *corpus.train.target]
    lengths = {len(split_words(text)) for text in every[::7]}
    assert min(lengths) >= SHORTEST == 4
    assert max(lengths) <= LONGEST == 30
    assert len(lengths) > 20


def test_the_first_pairs_are_the_same_everywhere() -> None:
    """A literal hash: other machines and Python versions must draw these very sentences."""
    drawn = load_grammar(train=1_000, valid=1, test=1).train
    assert drawn.links is not None
    lines = map(" ||| ".join, zip(drawn.source, drawn.target, drawn.links, strict=True))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert digest == "5c703ed8b3dc5bb9e72f8b7a7daee052e5618882e2f84ef9b3fc0ede28d50ed0"


def test_a_larger_corpus_begins_with_the_smaller(corpus: Corpus) -> None:
    small = load_grammar(train=50, valid=10, test=10)
    assert small.train == corpus.train.first(50)
    assert small.tests["test"] == corpus.tests["test"].first(10)
    assert load_grammar(seed=1, train=50, valid=1, test=1).train != small.train


def test_pairs_are_drawn_fast_enough_for_a_short_training() -> None:
    """A million draws a minute on one core when it is idle; here only that none is slow."""
    assert len(list(islice(draw("train", seed=8), 500))) == 500
