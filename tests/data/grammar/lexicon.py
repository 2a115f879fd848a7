"""Ways to pick words from the lexicon by name, for tests that build meanings by hand."""

from __future__ import annotations

from dlcli.data.grammar import names
from dlcli.data.grammar.adjectives import SLOTS, Adjective, adjectives
from dlcli.data.grammar.names import Fixed, named
from dlcli.data.grammar.nouns import KINDS, Noun, nouns
from dlcli.data.grammar.verbs import Verb, deciding, intransitive, reporting, transitive


def noun(lemma: str) -> Noun:
    return next(noun for kind in KINDS for noun in nouns(kind) if noun.lemma == lemma)


def adjective(lemma: str) -> Adjective:
    every = (a for slot in SLOTS for kind in KINDS for a in adjectives(slot, kind))
    return next(adjective for adjective in every if adjective.lemma == lemma)


def verb(lemma: str) -> Verb:
    kinds = [kind[0] for kind in KINDS]
    every = [*reporting(), *deciding()]
    every += [v for kind in kinds for v in (*transitive("", kind), *intransitive(kind))]
    return next(verb for verb in every if verb.lemma == lemma)


def name(lemma: str) -> Fixed:
    tables = (names.INSTITUTIONS, names.STATES, names.TOPICS, names.MANNERS)
    return next(phrase for table in tables for phrase in named(table) if phrase.lemma == lemma)
