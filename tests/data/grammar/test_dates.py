"""Dates."""

from __future__ import annotations

from dlcli.data.grammar.dates import DAYS, FUTURE_YEARS, PAST_YEARS, future_dates, past_dates


def _said(past: bool) -> dict[str, str]:
    space = past_dates() if past else future_dates()
    return {date.lemma: " ".join(word for word, _, _ in date.french) for date in space}


def test_all_moments_are_different_and_counted() -> None:
    assert len(_said(True)) == past_dates().size
    assert len(_said(False)) == future_dates().size
    days = len(DAYS) * 12 * (len(FUTURE_YEARS) + 1)
    assert future_dates().size == days + len(FUTURE_YEARS) * (1 + 12 + 4 + 3) + 4


def test_how_moments_are_said() -> None:
    past = _said(True)
    assert past["in August 1992"] == "en août 1992"
    assert past["on 1 May 1992"] == "le 1er mai 1992"
    assert past["on 14 July"] == "le 14 juillet"
    assert past["in spring 1999"] == "à le printemps 1999"
    assert past["in summer 1999"] == "en été 1999"
    assert past["at the end of 2001"] == "à la fin de 2001"
    assert past["two days ago"] == "il y a deux jours"
    assert _said(False)["next week"] == "la semaine prochaine"


def test_the_past_is_past_and_what_is_reported_has_no_yesterday() -> None:
    assert not set(PAST_YEARS) & set(FUTURE_YEARS)
    told = {date.lemma for date in past_dates(reported=True)}
    assert not {"yesterday", "two days ago"} & told
    assert "tomorrow" not in {date.lemma for date in future_dates(reported=True)}
