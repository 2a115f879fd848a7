"""The spaces of noun phrases: which determiners, adjectives and complements a noun may have."""

from __future__ import annotations

import functools
from itertools import permutations

from dlcli.data.grammar import names
from dlcli.data.grammar.adjectives import Adjective, adjectives
from dlcli.data.grammar.meaning import Complement, Couple, Event, Group, Phrase
from dlcli.data.grammar.names import CITIES, Fixed, common_spaces, fixed, named, places
from dlcli.data.grammar.nouns import Noun, nouns
from dlcli.data.grammar.space import Product, Space, Union, Values
from dlcli.data.grammar.verbs import transitive

Determiner = tuple[str, bool]
"""Its name and whether the noun is plural."""

ON, OF, WITH = ("on", "sur"), ("of", "de"), ("with", "avec")
BETWEEN, FOR = ("between", "entre"), ("for", "pour")

SLOTS_USED: tuple[tuple[float, tuple[str, ...]], ...] = (
    (42, ()),
    (6, ("rank",)),
    (10, ("value",)),
    (10, ("age",)),
    (11, ("scope",)),
    (9, ("field",)),
    (2, ("rank", "scope")),
    (2, ("rank", "field")),
    (3, ("value", "scope")),
    (3, ("value", "field")),
    (2, ("value", "age")),
    (3, ("age", "scope")),
    (3, ("age", "field")),
    (5, ("scope", "field")),
    (1, ("value", "scope", "field")),
    (1, ("age", "scope", "field")),
)
"""Which slots are filled, and how often."""


def _determiners(*weighted: tuple[float, str]) -> Space[Determiner]:
    """Read determiners, a plural noun marked by "+"."""
    return Union(*((w, Values([(name.rstrip("+"), "+" in name)])) for w, name in weighted))


DEFINITE = _determiners((4, "the"), (2, "the+"))
OPEN = [(3.0, "a"), (0.7, "this"), (0.7, "these+"), (0.6, "several+"), (0.6, "many+")]
OPEN += [(0.5, "some+"), (0.5, "all+"), (0.4, "each"), (0.4, "another"), (0.3, "both+")]
OPEN += [(0.15, number + "+") for number in ("two", "three", "four", "six", "eight", "ten")]


def _all(*found: Adjective) -> tuple[Adjective, ...]:
    return found


@functools.cache
def _adjectives(kind: str, *, ranked: bool) -> Space[tuple[Adjective, ...]]:
    """Return the space of a noun's adjectives; only definite nouns have a rank ("the first")."""
    branches = [
        (weight, Product(_all, *(Values(adjectives(slot, kind)) for slot in slots)))
        for weight, slots in SLOTS_USED
        if ranked or "rank" not in slots
    ]
    return Union(*((w, space) for w, space in branches if space.size))


def _group(
    determiner: Determiner,
    noun: Noun,
    found: tuple[Adjective, ...],
    tail: Complement | Event | None = None,
) -> Group:
    return Group(determiner[0], determiner[1], noun, found, tail)


def _with(preposition: tuple[str, str], phrases: Space[Phrase]) -> Space[Complement]:
    return Product(Complement, Values([preposition]), phrases)


@functools.cache
def _city_names() -> Values[Fixed]:
    pairs = (city.partition(":") for city in CITIES.split())
    return Values([fixed(f"{said} | {dit or said}:0") for said, _, dit in pairs])


@functools.cache
def _tails(kind: str) -> Space[Complement] | None:
    """Return what may follow a noun of this kind."""
    states = Values(named(names.STATES))
    topics = Union((3, Values(named(names.TOPICS))), (2, Values(common_spaces())))
    offices = Values(names.institutions())
    pairs = Values([Couple(a, b) for a, b in permutations(states.values, 2)])
    match kind:
        case "texts":
            return _with(ON, topics)
        case "treaties":
            return Union(
                (5, _with(ON, topics)), (1.5, _with(WITH, states)), (1.5, _with(BETWEEN, pairs))
            )
        case "measures":
            return Union((3, _with(FOR, topics)), (1, _with(OF, states)))
        case "exchanges":
            return Union((4, _with(ON, topics)), (1.5, _with(BETWEEN, pairs)))
        case "bodies":
            return _with(OF, Union((1, states), (1, offices)))
        case "officials":
            plain = Product(_group, Values([("the", False)]), Values(nouns("bodies")), Values([()]))
            return _with(OF, Union((2, plain), (2, offices)))
        case "citizens" | "places" | "providers":
            return _with(OF, _city_names())
    return None


def _events(kind: str) -> Space[Event]:
    """Return what may have been done to a noun: "signed in Rome", "that was signed in Rome"."""
    done = Values(transitive("", kind[0]))
    return Product(Event, done, Values(places()), Values([False, True]))


@functools.cache
def groups(
    kind: str, *, subject: bool, owner: str = "", small: bool = False, definite: bool = False
) -> Space[Group]:
    """Return the noun phrases with a noun of this kind.

    Args:
        kind: of the noun.
        subject: whether the phrase is a subject: it may have an event then ("the treaty signed
            in Rome"), but is no bare plural.
        owner: "its" or "their" where the sentence has an owner before this.
        small: leave out what follows the noun.
        definite: "the" alone, as what is denied has it.
    """
    own = [(1.5, owner), (0.8, owner + "+")] if owner else []
    bare = [] if subject else [(1.5, "+")]
    articles, lexicon = _determiners((11, "the"), (5, "the+"), *own), Values(nouns(kind))
    plain = Product(_group, articles, lexicon, _adjectives(kind, ranked=True))
    if definite:
        return plain
    some = _adjectives(kind, ranked=False)
    branches: list[tuple[float, Space[Group]]] = [
        (16, plain),
        (8, Product(_group, _determiners(*OPEN, *bare), lexicon, some)),
    ]
    tails = _tails(kind)
    if tails and not small:
        followed = _determiners((3, "the"), (1, "the+"), (1, "a"))
        branches.append((9, Product(_group, followed, lexicon, some, tails)))
    if subject and not small:
        branches.append((2, Product(_group, DEFINITE, lexicon, Values([()]), _events(kind))))
    return Union(*branches)
