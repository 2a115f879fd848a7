"""The spaces of clauses and sentences: what is said of what, and who says it."""

from __future__ import annotations

import functools
from typing import NamedTuple

from dlcli.data.grammar import names
from dlcli.data.grammar.adjectives import Adjective, adjectives
from dlcli.data.grammar.dates import future_dates, past_dates
from dlcli.data.grammar.groups import groups
from dlcli.data.grammar.meaning import Clause, Couple, Phrase, Sentence, Voice
from dlcli.data.grammar.names import Fixed, fixed, named
from dlcli.data.grammar.space import Product, Space, Union, Values
from dlcli.data.grammar.verbs import Verb, deciding, intransitive, reporting, transitive
from dlcli.data.grammar.ways import Context, Way, state_ways, ways

KINDS = {
    "t": ("treaties", "texts"),
    "m": ("measures",),
    "e": ("exchanges", "events"),
    "b": ("bodies",),
    "o": ("officials",),
    "c": ("citizens",),
    "p": ("providers", "places"),
}
"""Noun kinds by the initials that verbs use."""
AGENTS = (("b", 4.0), ("o", 5.0), ("c", 2.0), ("p", 2.0), ("N", 5.0), ("S", 2.0))
PATIENTS = (("t", 6.0), ("m", 4.0), ("e", 3.0), ("b", 1.5), ("o", 2.0), ("c", 2.0), ("p", 2.0))
PREDICATES = frozenset(
    {"important", "ambitious", "controversial", "effective", "transparent", "complex", "urgent"}
    | {"expensive", "useful", "modern", "strict", "independent", "necessary", "reasonable"}
    | {"secret", "temporary", "historic", "famous", "honest", "courageous"}
)
"""What is said of something with "is"."""
CONJUNCTIONS = "and | et:0", ", but | ,:0 mais:1", "while | tandis:0 que:0"
SOMETIMES = 0.09
"""How often something is denied."""


class Who(NamedTuple):
    """Of whom something can be said, and of whom it can be denied: "each … was not" is left out.

    None is for nobody.
    """

    said: Space[Phrase | None]
    denied: Space[Phrase | None]


def _same(phrases: Space[Phrase | None]) -> Who:
    return Who(phrases, phrases)


@functools.cache
def _agents(agent: str) -> Who:
    """Return who can act: nouns of a kind (by initial), names of institutions or states."""
    if agent in "NS":
        return _same(Values(names.institutions() if agent == "N" else named(names.STATES)))
    return _things(agent, subject=True, small=True, agents=True)


@functools.cache
def _things(
    initial: str, *, subject: bool, small: bool, owner: str = "", agents: bool = False
) -> Who:
    """Return the phrases with a noun of a kind."""
    kinds = [kind for kind in KINDS[initial] if not (agents and kind == "places")]
    said, denied = (
        Union(
            *(
                (1, groups(kind, subject=subject, small=small, owner=owner, definite=definite))
                for kind in kinds
            )
        )
        for definite in (False, True)
    )
    return Who(said, denied)


NOBODY = _same(Values([None]))


def _act(
    subject: Phrase, verb: Verb | Adjective, other: Phrase | None, way: Way, voice: Voice
) -> Clause:
    where, during = way.behind
    return Clause(
        voice=voice,
        tense=way.tense,
        subject=subject,
        verb=verb,
        other=other,
        negation=way.negation,
        manner=way.manner,
        when_and_where=where,
        during=during,
    )


def _decide(subject: Phrase, deciding: Verb, verb: Verb, other: Phrase) -> Clause:
    return Clause("active", "past", subject, verb, other, deciding=deciding)


def _meetings() -> list[tuple[float, str, str]]:
    """Return who can do something to what, with a weight."""
    return [
        (often * rate, agent, patient)
        for agent, often in AGENTS
        for patient, rate in PATIENTS
        if transitive(agent, patient)
    ]


def _acts(
    subject: Who, verbs: tuple[Verb, ...], other: Who, *, context: Context, voice: Voice
) -> Space[Clause]:
    """Return the clauses with these parts, some of them denied."""
    manners = other is not NOBODY or voice == "passive"
    said, denied = (ways(context, voice=voice, denied=no, manners=manners) for no in (False, True))
    spoken, what = Values([voice]), Values(verbs)
    return Union(
        (1 - SOMETIMES, Product(_act, subject.said, what, other.said, said, spoken)),
        (SOMETIMES, Product(_act, subject.denied, what, other.denied, denied, spoken)),
    )


@functools.cache
def _active(context: Context, *, small: bool) -> Space[Clause]:
    branches = []
    for weight, agent, patient in _meetings():
        things = _things(patient, subject=False, small=small)
        verbs = transitive(agent, patient)
        acts = _acts(_agents(agent), verbs, things, context=context, voice="active")
        branches.append((weight, acts))
    for owner, weight, who in (("its", 16.0, _single()), ("their", 8.0, _couples())):
        for patient in "tm":
            own = _things(patient, subject=False, small=True, owner=owner)
            verbs = transitive("N", patient)
            branches.append((weight, _acts(who, verbs, own, context=context, voice="active")))
    return Union(*branches)


def _single() -> Who:
    return _same(Values([name for name in names.institutions() if not name.many]))


@functools.cache
def _couples() -> Who:
    """Return two actors at once: an institution or a state and something else."""
    known = Values((*names.institutions(), *named(names.STATES)))
    said, denied = (
        Product(Couple, known, Union((1, bodies), (1, officials)))
        for bodies, officials in zip(_agents("b"), _agents("o"), strict=True)
    )
    return Who(said, denied)


@functools.cache
def _passive(context: Context, *, small: bool) -> Space[Clause]:
    branches = []
    for patient, rate in PATIENTS:
        things = _things(patient, subject=True, small=small)
        verbs = transitive("", patient)
        acts = _acts(things, verbs, NOBODY, context=context, voice="passive")
        branches.append((rate * 22, acts))
    for weight, agent, patient in _meetings():
        things = _things(patient, subject=True, small=True)
        verbs = transitive(agent, patient)
        acts = _acts(things, verbs, _agents(agent), context=context, voice="passive")
        branches.append((weight * 0.5, acts))
    couples = _acts(_couples(), transitive("", "b"), NOBODY, context=context, voice="passive")
    return Union(*branches, (5, couples))


@functools.cache
def _intransitive(context: Context) -> Space[Clause]:
    branches = []
    for kind, weight in PATIENTS:
        things = _things(kind, subject=True, small=False)
        if verbs := intransitive(kind):
            acts = _acts(things, verbs, NOBODY, context=context, voice="active")
            branches.append((weight, acts))
    return Union(*branches)


@functools.cache
def _states(*, past: bool) -> Space[Clause]:
    """Return what something is or was: "is important"."""
    branches: list[tuple[float, Space[Clause]]] = []
    for kind, weight in PATIENTS:
        fitting = Values([a for a in adjectives("value", kind) if a.lemma in PREDICATES])
        things = _things(kind, subject=True, small=False)
        for who, rate, denied in zip(
            things, (1 - SOMETIMES, SOMETIMES), (False, True), strict=True
        ):
            how = state_ways(past=past, denied=denied)
            spoken: Values[Voice] = Values(["state"])
            states = Product(_act, who, fitting, NOBODY.said, how, spoken)
            branches.append((weight * rate, states))
    return Union(*branches)


@functools.cache
def _deciding() -> Space[Clause]:
    branches = []
    for weight, agent, patient in _meetings():
        things = _things(patient, subject=False, small=False).said
        verbs = Values(transitive(agent, patient))
        who = _agents(agent).said
        branches.append((weight, Product(_decide, who, Values(deciding()), verbs, things)))
    return Union(*branches)


@functools.cache
def _short(context: Context) -> Space[Clause]:
    """Return clauses that have another beside them."""
    return Union(
        (5, _passive(context, small=True)),
        (5, _active(context, small=True)),
        (1, _intransitive(context)),
    )


def _plain(clause: Clause, stop: str) -> Sentence:
    return Sentence(clause, stop=stop)


def _dated(first: Fixed, clause: Clause, stop: str) -> Sentence:
    return Sentence(clause, first=first, stop=stop)


def _reported(
    subject: Phrase, verb: Verb, conjunction: Fixed, clause: Clause, stop: str
) -> Sentence:
    return Sentence(clause, reporter=(subject, verb, conjunction), stop=stop)


def _joint(clause: Clause, conjunction: Fixed, other: Clause, stop: str) -> Sentence:
    return Sentence(clause, joint=(conjunction, other), stop=stop)


@functools.cache
def sentences() -> Space[Sentence]:
    """Return everything that can be said."""
    reporters = Union(
        *((weight, _agents(agent).said) for agent, weight in AGENTS if agent in "bocN")
    )
    reported = Union((5, _short("reported")), (1, _states(past=True)))
    that, why, how = (
        Values([fixed(line)]) for line in ("that | que:0", "why | pourquoi:0", "how | comment:0")
    )
    asked = Union((4, that), (3, why), (2, how))
    conjunctions = Values([fixed(line) for line in CONJUNCTIONS])
    stop = Union((8, Values(["."])), (1, Values([";"])), (1, Values(["!"])))
    past, future = past_dates(), future_dates()
    return Union(
        (24, Product(_plain, _passive("main", small=False), stop)),
        (20, Product(_plain, _active("main", small=False), stop)),
        (8, Product(_plain, _intransitive("main"), stop)),
        (7, Product(_plain, _states(past=False), stop)),
        (3, Product(_plain, _deciding(), stop)),
        (7, Product(_dated, past, _short("after past"), stop)),
        (4, Product(_dated, future, _short("after future"), stop)),
        (14, Product(_reported, reporters, Values(reporting()), asked, reported, stop)),
        (8, Product(_joint, _short("joint"), conjunctions, _short("joint"), stop)),
    )
