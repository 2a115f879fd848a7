"""Tenses with their dates."""

from __future__ import annotations

import random

from dlcli.data.grammar.dates import FUTURE_YEARS, PAST_YEARS
from dlcli.data.grammar.ways import state_ways, ways


def _drawn(context: str, *, denied: bool = False) -> list[tuple[str, str, bool]]:
    chance, space = random.Random(2).random, ways(context, voice="active", denied=denied)  # type: ignore[arg-type]
    drawn = [space.draw(chance) for _ in range(2_000)]
    assert all(bool(way.negation) == denied for way in drawn)
    assert not any(way.manner and way.negation for way in drawn)
    return [
        (way.tense, " ".join(phrase.lemma for phrase in way.behind[0]), bool(way.negation))
        for way in drawn
    ]


def test_years_fit_the_tense() -> None:
    for tense, behind, _ in _drawn("main"):
        years = {word for word in behind.split() if len(word) == 4 and word.isdigit()}
        assert years <= set(PAST_YEARS if tense == "past" else FUTURE_YEARS)


def test_what_is_reported_is_shifted_back() -> None:
    assert {tense for tense, _, _ in _drawn("reported")} == {"pluperfect", "should"}
    assert not any("ago" in behind or "yesterday" in behind for _, behind, _ in _drawn("reported"))


def test_modals_are_not_denied() -> None:
    assert {tense for tense, _, _ in _drawn("main", denied=True)} == {"past", "future"}


def test_states_have_no_adverbs() -> None:
    assert state_ways(past=False, denied=False).size == 2
    assert state_ways(past=True, denied=True).size == 2
