"""The spaces of clauses and sentences: what is said of what, in which tense, when and where."""

from __future__ import annotations

import functools
from typing import NamedTuple

from dlcli.data.grammar import names
from dlcli.data.grammar.adjectives import Adjective, adjectives
from dlcli.data.grammar.clauses import MODALS
from dlcli.data.grammar.dates import future_dates, past_dates
from dlcli.data.grammar.groups import groups
from dlcli.data.grammar.meaning import Clause, Complement, Couple, Phrase, Sentence, Tense, Voice
from dlcli.data.grammar.names import Fixed, fixed, named, places
from dlcli.data.grammar.space import Product, Space, Union, Values
from dlcli.data.grammar.verbs import Verb, deciding, intransitive, reporting, transitive

KINDS = {
    "t": ("texts",),
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
    ("important", "ambitious", "controversial", "effective", "transparent", "complex", "expensive")
    + ("urgent", "useful", "modern", "strict", "independent", "necessary", "reasonable", "secret")
    + ("temporary", "historic", "famous", "honest", "courageous")
)
"""What is said of something with "is"."""
CONJUNCTIONS = "and | et:0", ", but | ,:0 mais:1", "while | tandis:0 que:0"
Circumstance = tuple[tuple[Fixed, ...], Complement | None]
"""What stands behind a clause: places and dates, an event."""
NOTHING: Space[Circumstance] = Values([((), None)])


class Way(NamedTuple):
    """How something is said: tense, denial, adverb, and when and where."""

    tense: Tense
    negated: bool
    manner: Fixed | None
    behind: Circumstance


@functools.cache
def _agents(agent: str) -> Space[Phrase]:
    """Return who can act: nouns of a kind (by initial), names of institutions or states."""
    if agent == "N":
        return Values(named(names.INSTITUTIONS))
    if agent == "S":
        return Values(named(names.STATES))
    spaces = (groups(kind, subject=True, small=True) for kind in KINDS[agent] if kind != "places")
    return Union(*((1, space) for space in spaces))


@functools.cache
def _patients(patient: str, *, subject: bool, small: bool, owner: str = "") -> Space[Phrase]:
    """Return to what something is done: nouns of a kind."""
    spaces = [
        (1.0, groups(kind, subject=subject, small=small, owner=owner)) for kind in KINDS[patient]
    ]
    return Union(*spaces)


def _one(phrase: Fixed) -> Circumstance:
    return (phrase,), None


def _two(place: Fixed, date: Fixed) -> Circumstance:
    return (place, date), None


def _during(event: Complement) -> Circumstance:
    return (), event


@functools.cache
def _circumstances(*, past: bool) -> Space[Circumstance]:
    dates = past_dates() if past else future_dates()
    events = Product(
        Complement,
        Values([("during", "pendant"), ("before", "avant"), ("after", "après")]),
        Union(*((1, groups(kind, subject=True, small=True)) for kind in KINDS["e"])),
    )
    where = Values(places())
    return Union(
        (30, NOTHING),
        (22, Product(_one, dates)),
        (10, Product(_one, where)),
        (12, Product(_two, where, dates)),
        (5, Product(_during, events)),
    )


def _ways(*tenses: tuple[float, Tense], behind: Space[Circumstance]) -> Space[Way]:
    """Return the ways to say something in these tenses; what is denied has no adverb."""
    weights = Union(*((weight, Values([tense])) for weight, tense in tenses))
    denied = Union(*((w, Values([t])) for w, t in tenses if t not in MODALS))
    none: Space[Fixed | None] = Values([None])
    no, yes = Values([False]), Values([True])
    branches: list[tuple[float, Space[Way]]] = [
        (85, Product(Way, weights, no, none, behind)),
        (8, Product(Way, weights, no, Values(named(names.MANNERS)), behind)),
    ]
    if denied.size:
        branches.append((9, Product(Way, denied, yes, none, behind)))
    return Union(*branches)


@functools.cache
def _ways_of(place: str, voice: Voice) -> Space[Way]:
    """Return the ways of a main clause, of one behind a date, of one that is reported.

    The future of an active verb is a word of its own for each, so it must not be rare.
    """
    active = voice == "active"
    past, future = _circumstances(past=True), _circumstances(past=False)
    match place:
        case "main":
            return Union(
                (10, _ways((1, "past"), behind=past)),
                (4.0 if active else 1.4, _ways((1, "future"), behind=future)),
                (2.6, _ways((2, "must"), (1, "should"), (1, "can"), behind=future)),
            )
        case "reported":
            return Union(
                (6, _ways((1, "pluperfect"), behind=past)),
                (2, _ways((1, "should" if active else "conditional"), behind=future)),
                (1, _ways((1, "should"), behind=future)),
            )
        case "after past":
            return _ways((1, "past"), behind=NOTHING)
        case "after future":
            return _ways((1, "future"), behind=NOTHING)
    return _ways((6, "past"), (1.5 if active else 0.7, "future"), (1, "must"), behind=NOTHING)


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
        negated=way.negated,
        manner=way.manner,
        when_and_where=where,
        during=during,
    )


def _decide(subject: Phrase, deciding: Verb, verb: Verb, other: Phrase) -> Clause:
    return Clause("active", "past", subject, verb, other, deciding=deciding)


def _voice(voice: Voice) -> Space[Voice]:
    return Values([voice])


def _meetings() -> list[tuple[float, str, str]]:
    """Return who can do something to what, with a weight."""
    return [
        (often * rate, agent, patient)
        for agent, often in AGENTS
        for patient, rate in PATIENTS
        if transitive(agent, patient)
    ]


@functools.cache
def _active(place: str, *, small: bool) -> Space[Clause]:
    ways, voice = _ways_of(place, "active"), _voice("active")
    branches: list[tuple[float, Space[Clause]]] = []
    for weight, agent, patient in _meetings():
        verbs = Values(transitive(agent, patient))
        things = _patients(patient, subject=False, small=small)
        branches.append((weight, Product(_act, _agents(agent), verbs, things, ways, voice)))
    for owner, weight, who in (("its", 16.0, _single()), ("their", 8.0, _couples())):
        for patient in "tm":
            verbs = Values(transitive("N", patient))
            owned = _patients(patient, subject=False, small=True, owner=owner)
            branches.append((weight, Product(_act, who, verbs, owned, ways, voice)))
    return Union(*branches)


def _single() -> Values[Phrase]:
    return Values([name for name in named(names.INSTITUTIONS) if not name.many])


@functools.cache
def _couples() -> Space[Phrase]:
    """Return two actors at once: an institution or a state and something else."""
    known = (*named(names.INSTITUTIONS), *named(names.STATES))
    some = Union(*((1, groups(kind, subject=True, small=True)) for kind in ("bodies", "officials")))
    return Product(Couple, Values(known), some)


@functools.cache
def _passive(place: str, *, small: bool) -> Space[Clause]:
    ways, voice = _ways_of(place, "passive"), _voice("passive")
    branches: list[tuple[float, Space[Clause]]] = []
    for patient, rate in PATIENTS:
        verbs = Values(transitive("", patient))
        things = _patients(patient, subject=True, small=small)
        plain = Product(_act, things, verbs, Values([None]), ways, voice)
        branches.append((rate * 22, plain))
    for weight, agent, patient in _meetings():
        verbs = Values(transitive(agent, patient))
        things = _patients(patient, subject=True, small=True)
        by = Product(_act, things, verbs, _agents(agent), ways, voice)
        branches.append((weight * 0.5, by))
    invited = Values(transitive("", "b"))
    branches.append((5, Product(_act, _couples(), invited, Values([None]), ways, voice)))
    return Union(*branches)


@functools.cache
def _intransitive(place: str) -> Space[Clause]:
    ways, voice = _ways_of(place, "active"), _voice("active")
    return Union(
        *(
            (weight, Product(_act, things, verbs, Values([None]), ways, voice))
            for kind, weight in PATIENTS
            if (verbs := Values(intransitive(kind))).size
            for things in [_patients(kind, subject=True, small=False)]
        )
    )


@functools.cache
def _states(*, past: bool) -> Space[Clause]:
    """Return what something is or was: "is important"."""
    tenses: tuple[tuple[float, Tense], ...] = (
        ((1, "past"),) if past else ((5, "present"), (1, "past"))
    )
    ways = _ways(*tenses, behind=NOTHING)
    branches: list[tuple[float, Space[Clause]]] = []
    for kind, weight in PATIENTS:
        fitting = [a for a in adjectives("value", kind) if a.lemma in PREDICATES]
        things = _patients(kind, subject=True, small=False)
        plain = Product(_act, things, Values(fitting), Values([None]), ways, _voice("state"))
        branches.append((weight, plain))
    return Union(*branches)


@functools.cache
def _deciding() -> Space[Clause]:
    return Union(
        *(
            (
                weight,
                Product(
                    _decide,
                    _agents(agent),
                    Values(deciding()),
                    Values(transitive(agent, patient)),
                    _patients(patient, subject=False, small=False),
                ),
            )
            for weight, agent, patient in _meetings()
        )
    )


@functools.cache
def _short(place: str) -> Space[Clause]:
    """Return clauses that have another beside them."""
    return Union(
        (5, _passive(place, small=True)), (5, _active(place, small=True)), (1, _intransitive(place))
    )


def _dated(first: Fixed, clause: Clause) -> Sentence:
    return Sentence(clause, first=first)


def _reported(subject: Phrase, verb: Verb, clause: Clause) -> Sentence:
    return Sentence(clause, reporter=(subject, verb))


def _joint(clause: Clause, conjunction: Fixed, other: Clause) -> Sentence:
    return Sentence(clause, joint=(conjunction, other))


@functools.cache
def sentences() -> Space[Sentence]:
    """Return everything that can be said."""
    reporters = Union(*((weight, _agents(agent)) for agent, weight in AGENTS if agent in "bocN"))
    reported = Union((5, _short("reported")), (1, _states(past=True)))
    conjunctions = Values([fixed(line) for line in CONJUNCTIONS])
    return Union(
        (24, Product(Sentence, _passive("main", small=False))),
        (20, Product(Sentence, _active("main", small=False))),
        (6, Product(Sentence, _intransitive("main"))),
        (7, Product(Sentence, _states(past=False))),
        (6, Product(Sentence, _deciding())),
        (7, Product(_dated, past_dates(), _short("after past"))),
        (2.5, Product(_dated, future_dates(), _short("after future"))),
        (14, Product(_reported, reporters, Values(reporting()), reported)),
        (8, Product(_joint, _short("joint"), conjunctions, _short("joint"))),
    )
