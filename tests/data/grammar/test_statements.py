"""The space of sentences: its size, and what holds of every one of them."""

from __future__ import annotations

import itertools
import re

import pytest

from dlcli.data.grammar.clauses import say_sentence
from dlcli.data.grammar.corpus import LONGEST, SHORTEST, draw
from dlcli.data.grammar.draft import Example
from dlcli.data.grammar.meaning import Clause, Couple, Group, Phrase, Sentence
from dlcli.data.grammar.nouns import KINDS, nouns
from dlcli.data.grammar.statements import sentences
from dlcli.data.sentences import split_words

Said = list[tuple[Sentence, Example]]


def test_different_meanings_are_said_differently(said: Said) -> None:
    """So the exact size of the space counts pairs: 7·10³⁸, nearly all of two clauses."""
    assert sentences().size > 10**30
    meanings = {meaning for meaning, _ in said}
    assert len({(e.source, e.target) for _, e in said}) == len(meanings) > 0.99 * len(said)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_different_pairs_of_the_corpus() -> None:
    """Counted, not estimated: a million pairs within the corpus's lengths, none drawn twice."""
    pairs = set()
    for example in draw("train", seed=0):
        pairs.add((example.source, example.target))
        if len(pairs) == 1_000_000:
            break
    assert len({source for source, _ in pairs}) == len({target for _, target in pairs}) == 1_000_000


def test_both_directions_are_functions(said: Said) -> None:
    """A sentence has one translation: what the test asks for can be known."""
    assert len({e.source for _, e in said}) == len({(e.source, e.target) for _, e in said})
    assert len({e.target for _, e in said}) == len({(e.source, e.target) for _, e in said})


def test_every_word_is_linked_within_its_sentence(said: Said) -> None:
    for _, example in said:
        english, french = split_words(example.source), split_words(example.target)
        assert example.lengths == (len(english), len(french)), example
        links = [tuple(map(int, link.split("-"))) for link in example.links.split()]
        assert {source for source, _ in links} == set(range(len(english))), example
        assert {target for _, target in links} == set(range(len(french))), example
        assert len(set(links)) == len(links)


ARTICLES: dict[str, str] = {
    "le": "m0",
    "la": "f0",
    "l'": "m0 f0",
    "les": "m1 f1",
    "du": "m0",
    "des": "m1 f1",
    "ce": "m0",
    "cet": "m0",
    "cette": "f0",
    "ces": "m1 f1",
    "un": "m0",
    "une": "f0",
    "son": "m0 f0",
    "sa": "f0",
    "ses": "m1 f1",
    "leurs": "m1 f1",
    "chaque": "m0 f0",
    "certains": "m1",
    "certaines": "f1",
    "nombreux": "m1",
    "nombreuses": "f1",
}
"""Gender and number (1: plural) that a French article asks for."""


def test_articles_have_the_gender_and_number_of_their_noun(said: Said) -> None:
    """Read back from the French alone, where the noun follows its article at once."""
    forms: dict[str, set[str]] = {}
    for noun in (noun for kind in KINDS for noun in nouns(kind)):
        for many in (0, 1):
            forms.setdefault(noun.french[many], set()).add(f"{noun.gender}{many}")
    checked = 0
    for _, example in said:
        words = [word.text for word in split_words(example.target)]
        for article, word in itertools.pairwise(words):
            if article.lower() in ARTICLES and word in forms:
                asked = set(ARTICLES[article.lower()].split())
                assert asked & forms[word], (article, word, example.target)
                checked += 1
    assert checked > 3_000


def test_no_word_stands_unelided_or_uncontracted(said: Said) -> None:
    french = re.compile(
        r"\b(?:de|à) les?\b|\b(?:le|la|de|que|ne|ce|sa) [aâeéèêiîoôuœ]|nouveau [aeiouéE]"
    )
    assert not [e.target for _, e in said if french.search(e.target)]
    english = re.compile(r"\b[Aa] (?:[aio]|e(?!u))|\b[Aa]n [^aeiouhAI]")
    assert not [e.source for _, e in said if english.search(e.source)]


def test_sentences_begin_with_a_capital_and_end_with_a_stop(said: Said) -> None:
    for _, example in said:
        for text in (example.source, example.target):
            assert text[0].isupper()
            assert text[-1] in ".;!"
            assert "  " not in text
        assert example.source[-2] != " "
        assert (example.target[-2] == " ") == (example.target[-1] in ";!")


def test_lengths_are_within_bounds_nearly_always(said: Said) -> None:
    outside = [e for _, e in said if max(e.lengths) > LONGEST or min(e.lengths) < SHORTEST]
    assert len(outside) < 0.01 * len(said)


def test_participles_agree_with_their_subject(said: Said) -> None:
    for meaning, example in said:
        clause = meaning.clause
        if clause.voice == "passive" and not meaning.joint:
            form = _form(clause.subject)
            words = [word.text for word in split_words(example.target)]
            assert not isinstance(clause.verb, str)
            assert _participle(clause, form) in words, example.target


def _participle(clause: Clause, form: int) -> str:
    return clause.verb.participles[form]  # type: ignore[union-attr]


def _form(phrase: Phrase) -> int:
    if isinstance(phrase, Couple):
        return 2 * (_form(phrase.first) >= 2 and _form(phrase.second) >= 2) + 1
    if isinstance(phrase, Group):
        return 2 * (phrase.noun.gender == "f") + phrase.many
    return 2 * (phrase.gender == "f") + phrase.many


def test_denial_has_definite_phrases_only(said: Said) -> None:
    for meaning, _ in said:
        clause = meaning.clause
        if clause.negation:
            for phrase in (clause.subject, clause.other):
                if isinstance(phrase, Group):
                    assert phrase.determiner in ("the", "its", "their")
    assert say_sentence(said[0][0]) == said[0][1]
