"""The spaces of how something is said: tense, denial, adverb, and when and where it happens."""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

from dlcli.data.grammar import names
from dlcli.data.grammar.dates import future_dates, past_dates
from dlcli.data.grammar.groups import groups
from dlcli.data.grammar.meaning import Complement, Negation, Tense, Voice
from dlcli.data.grammar.names import Fixed, named, places
from dlcli.data.grammar.space import Product, Space, Union, Values

Context = Literal["main", "reported", "after past", "after future", "joint"]
"""Where a clause stands: alone, behind "said that", behind a date, beside another clause."""
Circumstance = tuple[tuple[Fixed, ...], Complement | None]
"""What stands behind a clause: places and dates, or an event."""
DENIALS: Space[Negation] = Union((2, Values(["not"])), (1, Values(["never"])))
AFFIRMED: Space[Negation] = Values([""])
NOTHING: Space[Circumstance] = Values([((), None)])


class Way(NamedTuple):
    """How something is said; `behind` is where and when."""

    tense: Tense
    negation: Negation
    manner: Fixed | None
    behind: Circumstance


def _one(phrase: Fixed) -> Circumstance:
    return (phrase,), None


def _two(place: Fixed, date: Fixed) -> Circumstance:
    return (place, date), None


def _event(event: Complement) -> Circumstance:
    return (), event


@functools.cache
def _circumstances(*, past: bool, reported: bool = False) -> Space[Circumstance]:
    dates = past_dates(reported=reported) if past else future_dates(reported=reported)
    where = Values(places())
    events = Product(
        Complement,
        Values([("during", "pendant"), ("before", "avant"), ("after", "après")]),
        Union(*((1, groups(kind, subject=True, small=True)) for kind in ("exchanges", "events"))),
    )
    return Union(
        (30, NOTHING),
        (22, Product(_one, dates)),
        (10, Product(_one, where)),
        (12, Product(_two, where, dates)),
        (5, Product(_event, events)),
    )


def _tenses(*weighted: tuple[float, Tense]) -> Space[Tense]:
    return Union(*((weight, Values([tense])) for weight, tense in weighted))


@functools.cache
def _times(context: Context, *, active: bool, denied: bool) -> Space[tuple[Tense, Circumstance]]:
    """Return tenses with what may stand behind them.

    The future of an active verb is a word of its own for each, so it must not be rare. Modals are
    not denied: "must not" and "ne doit pas" do not say the same of every verb.
    """
    modal = 0.0 if denied else 1.0
    past = _circumstances(past=True, reported=context == "reported")
    future = _circumstances(past=False, reported=context == "reported")
    table: dict[Context, list[tuple[float, Tense, Space[Circumstance]]]] = {
        "main": [
            (10, "past", past),
            (6 if active else 1.4, "future", future),
            (1.3 * modal, "must", future),
            (0.7 * modal, "should", future),
            (0.6 * modal, "can", future),
        ],
        "reported": [
            (6, "pluperfect", past),
            (0 if active else 2, "conditional", future),
            ((3 if active else 1) * modal, "should", future),
        ],
        "after past": [(1, "past", NOTHING)],
        "after future": [(1, "future", NOTHING)],
        "joint": [
            (6, "past", NOTHING),
            (2.5 if active else 0.7, "future", NOTHING),
            (modal, "must", NOTHING),
        ],
    }
    branches = [
        (weight, Product(_time, Values([tense]), behind))
        for weight, tense, behind in table[context]
        if weight
    ]
    return Union(*branches)


def _time(tense: Tense, behind: Circumstance) -> tuple[Tense, Circumstance]:
    return tense, behind


def _way(time: tuple[Tense, Circumstance], negation: Negation, manner: Fixed | None) -> Way:
    return Way(time[0], negation, manner, time[1])


@functools.cache
def ways(context: Context, *, voice: Voice, denied: bool, manners: bool = True) -> Space[Way]:
    """Return the ways to say, or to deny, that something is done; adverbs only where `manners`."""
    times = _times(context, active=voice == "active", denied=denied)
    plain = Product(_way, times, DENIALS if denied else AFFIRMED, Values([None]))
    if denied or not manners:
        return plain
    adverbs = Product(_way, times, AFFIRMED, Values(named(names.MANNERS)))
    return Union((10, plain), (1, adverbs))


@functools.cache
def state_ways(*, past: bool, denied: bool) -> Space[Way]:
    """Return the ways to say, or to deny, that something is so."""
    tenses = _tenses((1, "past")) if past else _tenses((5, "present"), (1, "past"))
    return Product(Way, tenses, DENIALS if denied else AFFIRMED, Values([None]), NOTHING)
