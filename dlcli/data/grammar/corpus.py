"""The embedded corpus `grammar`: sentences drawn from the grammar, with their word alignments."""

from __future__ import annotations

import random
from collections.abc import Iterator

from dlcli.data.grammar.clauses import say_sentence
from dlcli.data.grammar.draft import Example
from dlcli.data.grammar.holdout import Split, split_of_all
from dlcli.data.grammar.meaning import Clause, Complement, Group, Sentence, combinations
from dlcli.data.grammar.names import common_spaces, fixed
from dlcli.data.grammar.nouns import nouns
from dlcli.data.grammar.statements import sentences
from dlcli.data.grammar.verbs import transitive
from dlcli.data.sentences import Corpus, Pairs

SHORTEST, LONGEST = 4, 30  # words, punctuation counted, on either side
TRAIN_PAIRS = 60_000


def famous() -> Sentence:
    """Return the sentence of Bahdanau, Cho and Bengio (2015), Figure 3a, as a meaning.

    "The agreement on the European Economic Area was signed in August 1992." Its combination of
    verb and subject is held out, so that it is in the test set and never in training.
    """
    area = next(name for name in common_spaces() if name.lemma == "the European Economic Area")
    noun = next(noun for noun in nouns("treaties") if noun.lemma == "agreement")
    sign = next(verb for verb in transitive("", "t") if verb.lemma == "sign")
    agreement = Group("the", False, noun, tail=Complement(("on", "sur"), area))
    when = (fixed("in August 1992 | en:0 août:1 1992:2"),)
    return Sentence(Clause("passive", "past", agreement, sign, when_and_where=when))


def load_grammar(
    *, seed: int = 0, train: int = TRAIN_PAIRS, valid: int = 500, test: int = 1_000
) -> Corpus:
    """Return sentences of the grammar in three splits, all different, with their links.

    The same seed gives the same sentences, and the first n of a larger split are the same.
    No seed puts a held-out combination of words into training (`dlcli.data.grammar.holdout`).
    The first test sentence is `famous`.

    Args:
        seed: of the draws; at least 0.
        train: pairs to learn from.
        valid: pairs to choose by.
        test: pairs to report.
    """
    return Corpus(
        name="grammar",
        languages=("en", "fr"),
        train=_pairs(draw("train", seed=seed), train),
        valid=_pairs(draw("valid", seed=seed), valid),
        tests={"test": _pairs(draw("test", seed=seed), test)},
    )


def draw(split: Split, *, seed: int) -> Iterator[Example]:
    """Draw pairs of one split without end, none twice."""
    seen: set[str] = set()
    for meaning in meanings(split, seed=seed):
        example = say_sentence(meaning)
        fits = min(example.lengths) >= SHORTEST and max(example.lengths) <= LONGEST
        if fits and example.source not in seen:
            seen.add(example.source)
            yield example


def meanings(split: Split, *, seed: int) -> Iterator[Sentence]:
    """Draw meanings of one split without end."""
    chance = random.Random(f"grammar {split} {seed}").random
    space = sentences()
    if split == "test":
        yield famous()
    while True:
        meaning = space.draw(chance)
        if split_of_all(combinations(meaning)) == split:
            yield meaning


def _pairs(examples: Iterator[Example], count: int) -> Pairs:
    drawn = [next(examples) for _ in range(count)]
    return Pairs(
        source=tuple(example.source for example in drawn),
        target=tuple(example.target for example in drawn),
        links=tuple(example.links for example in drawn),
    )
