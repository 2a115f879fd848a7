"""When things happen, in the past and in the future: "in August 1992", "on 1 May 2030"."""

from __future__ import annotations

import functools

from dlcli.data.grammar.names import Fixed, fixed, named
from dlcli.data.grammar.space import Product, Space, Union, Values

MONTHS = (
    "January:janvier February:février March:mars April:avril May:mai June:juin July:juillet "
    "August:août September:septembre October:octobre November:novembre December:décembre"
)
PAST_YEARS = tuple(map(str, range(1957, 2025)))
FUTURE_YEARS = tuple(map(str, range(2027, 2041)))
DAYS = tuple(range(1, 29))
NUMBERS = (
    "two:deux three:trois four:quatre five:cinq six:six seven:sept eight:huit nine:neuf ten:dix"
)
UNITS = "days:jours weeks:semaines months:mois years:ans"
PAST_MOMENTS = """
yesterday | hier:0
last week | *la:1 semaine:1 dernière:0
last month | *le:1 mois:1 dernier:0
last year | *la:1 année:1 dernière:0
"""
FUTURE_MOMENTS = """
tomorrow | demain:0
next week | *la:1 semaine:1 prochaine:0
next month | *le:1 mois:1 prochain:0
next year | *la:1 année:1 prochaine:0
"""
SEASONS = """
in spring | à:0 *le:1 printemps:1
in summer | en:0 été:1
in autumn | en:0 automne:1
in winter | en:0 hiver:1
"""
EDGES = """
at the end of | à:0 la:1 fin:2 de:3
at the beginning of | à:0 le:1 début:2 de:3
before the end of | avant:0 la:1 fin:2 de:3
"""


def _pairs(text: str) -> Values[tuple[str, str]]:
    split = (word.partition(":") for word in text.split())
    return Values([(said, dit) for said, _, dit in split])


def _year(year: str) -> Fixed:
    return fixed(f"in {year} | en:0 {year}:1")


def _month(month: tuple[str, str], year: str) -> Fixed:
    return fixed(f"in {month[0]} {year} | en:0 {month[1]}:1 {year}:2")


def _day(day: int, month: tuple[str, str], year: str = "") -> Fixed:
    said = f"on {day} {month[0]} {year}"
    dit = f"le:0 {'1er' if day == 1 else day}:1 {month[1]}:2" + (f" {year}:3" if year else "")
    return fixed(f"{said} | {dit}")


def _ending_in(phrase: Fixed, year: str) -> Fixed:
    last = len(phrase.english)
    return Fixed((*phrase.english, year), (*phrase.french, (year, (last,), False)))


def _ago(number: tuple[str, str], unit: tuple[str, str]) -> Fixed:
    return fixed(f"{number[0]} {unit[0]} ago | il:2 y:2 a:2 {number[1]}:0 {unit[1]}:1")


def _dates(years: tuple[str, ...]) -> list[tuple[float, Space[Fixed]]]:
    months, some = _pairs(MONTHS), Values(years)
    return [
        (4, Product(_year, some)),
        (6, Product(_month, months, some)),
        (5, Product(_day, Values(DAYS), months, some)),
        (2, Product(_day, Values(DAYS), months)),
        (1.5, Product(_ending_in, Values(named(SEASONS)), some)),
        (1.5, Product(_ending_in, Values(named(EDGES)), some)),
    ]


@functools.cache
def past_dates(*, reported: bool = False) -> Space[Fixed]:
    """Return the moments before now; what is reported has no "yesterday" and no "ago"."""
    dates = _dates(PAST_YEARS)
    if reported:
        return Union(*dates)
    ago: Space[Fixed] = Product(_ago, _pairs(NUMBERS), _pairs(UNITS))
    return Union(*dates, (1, Values(named(PAST_MOMENTS))), (1.5, ago))


@functools.cache
def future_dates(*, reported: bool = False) -> Space[Fixed]:
    """Return the moments after now; what is reported has no "tomorrow"."""
    dates = _dates(FUTURE_YEARS)
    return Union(*dates) if reported else Union(*dates, (1.5, Values(named(FUTURE_MOMENTS))))
