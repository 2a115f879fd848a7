"""A small corpus and a sample of meanings, made once for all tests of the grammar."""

from __future__ import annotations

import random

import pytest

from dlcli.data.grammar.clauses import say_sentence
from dlcli.data.grammar.corpus import load_grammar
from dlcli.data.grammar.draft import Example
from dlcli.data.grammar.meaning import Sentence
from dlcli.data.grammar.statements import sentences
from dlcli.data.sentences import Corpus


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return load_grammar(train=12_000, valid=300, test=600)


@pytest.fixture(scope="session")
def said() -> list[tuple[Sentence, Example]]:
    """6,000 meanings, not cut to the corpus's lengths, and their sentences."""
    chance, space = random.Random(11).random, sentences()
    meanings = [space.draw(chance) for _ in range(6_000)]
    return [(meaning, say_sentence(meaning)) for meaning in meanings]
