"""What is held out."""

from __future__ import annotations

from collections import Counter

from dlcli.data.grammar.adjectives import SLOTS, adjectives
from dlcli.data.grammar.holdout import split_of, split_of_all
from dlcli.data.grammar.nouns import KINDS, nouns


def test_the_famous_combination_is_in_the_test() -> None:
    assert split_of(("agreement", "sign")) == "test"


def test_the_hash_is_the_same_everywhere() -> None:
    """A changed hash would move sentences from test to training between versions."""
    french = {noun.lemma: split_of((noun.lemma, "French")) for noun in nouns("bodies")}
    assert [lemma for lemma, split in french.items() if split == "test"] == [
        "government",
        "ministry",
    ]
    assert [lemma for lemma, split in french.items() if split == "valid"] == ["federation"]


def test_few_combinations_are_held_out_of_every_word() -> None:
    counts: Counter[str] = Counter()
    for kind in KINDS:
        for noun in nouns(kind):
            pairs = [(noun.lemma, a.lemma) for slot in SLOTS for a in adjectives(slot, kind)]
            splits = Counter(map(split_of, pairs))
            assert splits["train"] > 0.6 * len(pairs), noun.lemma
            counts += splits
    total = sum(counts.values())
    assert 0.06 < counts["test"] / total < 0.10
    assert 0.03 < counts["valid"] / total < 0.05


def test_a_sentence_belongs_to_one_split_at_most() -> None:
    pairs = [(noun.lemma, "new") for kind in KINDS for noun in nouns(kind)]
    train, valid, test = (
        next(pair for pair in pairs if split_of(pair) == split)
        for split in ("train", "valid", "test")
    )
    assert split_of_all([]) == "train"
    assert split_of_all([train]) == "train"
    assert split_of_all([train, test]) == "test"
    assert split_of_all([valid, train]) == "valid"
    assert split_of_all([valid, test]) is None
