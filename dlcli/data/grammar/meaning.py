"""What a sentence means: a tree that both languages are made from.

Words of the lexicon are its leaves. `combinations` names what is new about a sentence: which
adjective it gives to which noun, which verb to which subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dlcli.data.grammar.adjectives import Adjective
from dlcli.data.grammar.names import Fixed
from dlcli.data.grammar.nouns import Noun
from dlcli.data.grammar.verbs import Verb

Tense = Literal["past", "present", "future", "pluperfect", "conditional", "must", "should", "can"]
Voice = Literal["active", "passive", "state"]
Negation = Literal["", "not", "never"]
Combination = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Complement:
    """What a preposition adds to a noun: "on the European Economic Area"."""

    preposition: tuple[str, str]
    phrase: Phrase


@dataclass(frozen=True, slots=True)
class Event:
    """What was done to a noun's referent: "signed in Rome", or "that was signed in Rome"."""

    verb: Verb
    place: Fixed
    relative: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A noun with what belongs to it; the adjectives are in English order."""

    determiner: str
    many: bool
    noun: Noun
    adjectives: tuple[Adjective, ...] = ()
    tail: Complement | Event | None = None


@dataclass(frozen=True, slots=True)
class Couple:
    """Two phrases joined by "and"."""

    first: Phrase
    second: Phrase


Phrase = Group | Fixed | Couple


@dataclass(frozen=True, slots=True)
class Clause:
    """Who does what, when and where.

    Attributes:
        voice: active ("signed"), passive ("was signed") or state ("was important").
        tense: of the finite verb, or its modal.
        subject: of whom or what.
        verb: what happens, or the adjective of a state.
        other: the object of an active verb, the agent of a passive one.
        deciding: a verb such as "decided to" that governs the other.
        negation: how it is denied, if it is.
        manner: an adverb.
        when_and_where: phrases behind it.
        during: a preposition of both languages and an event.
    """

    voice: Voice
    tense: Tense
    subject: Phrase
    verb: Verb | Adjective
    other: Phrase | None = None
    deciding: Verb | None = None
    negation: Negation = ""
    manner: Fixed | None = None
    when_and_where: tuple[Fixed, ...] = ()
    during: Complement | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """A clause with what may stand before and behind it.

    Attributes:
        clause: what is said.
        first: a date in front: "In August 1992, …".
        reporter: who said so, with the verb and the conjunction: "The minister said that …".
        joint: a conjunction of both languages and a second clause.
        stop: the sign it ends with. Where it is always the same no reader need look at it.
    """

    clause: Clause
    first: Fixed | None = None
    reporter: tuple[Phrase, Verb, Fixed] | None = None
    joint: tuple[Fixed, Clause] | None = None
    stop: str = "."


def combinations(sentence: Sentence) -> Iterator[Combination]:
    """Yield noun and adjective, subject and verb, as lemmas, wherever they meet."""
    if sentence.reporter:
        subject, verb, _ = sentence.reporter
        yield from _of_phrase(subject)
        yield from ((head, verb.lemma) for head in _heads(subject))
    yield from _of_clause(sentence.clause)
    if sentence.joint:
        yield from _of_clause(sentence.joint[1])


def _of_clause(clause: Clause) -> Iterator[Combination]:
    yield from _of_phrase(clause.subject)
    for verb in (clause.verb, clause.deciding):
        if verb:
            yield from ((head, verb.lemma) for head in _heads(clause.subject))
    if clause.other:
        yield from _of_phrase(clause.other)
    if clause.during:
        yield from _of_phrase(clause.during.phrase)


def _of_phrase(phrase: Phrase) -> Iterator[Combination]:
    if isinstance(phrase, Couple):
        yield from _of_phrase(phrase.first)
        yield from _of_phrase(phrase.second)
    elif isinstance(phrase, Group):
        yield from ((phrase.noun.lemma, adjective.lemma) for adjective in phrase.adjectives)
        if isinstance(phrase.tail, Complement):
            yield from _of_phrase(phrase.tail.phrase)
        elif phrase.tail:
            yield phrase.noun.lemma, phrase.tail.verb.lemma


def _heads(phrase: Phrase) -> tuple[str, ...]:
    if isinstance(phrase, Couple):
        return (*_heads(phrase.first), *_heads(phrase.second))
    return (phrase.noun.lemma if isinstance(phrase, Group) else phrase.lemma,)
