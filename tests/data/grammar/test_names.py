"""Names and fixed phrases."""

from __future__ import annotations

import pytest

from dlcli.data.grammar import names
from dlcli.data.grammar.names import Fixed, common_spaces, institutions, named, places

TABLES = (names.INSTITUTIONS, names.STATES, names.TOPICS, names.MANNERS)


@pytest.mark.parametrize("table", TABLES)
def test_every_word_is_linked_inside_its_phrase(table: str) -> None:
    _check(*named(table))


def test_names_that_come_apart_are_linked_and_different() -> None:
    _check(*institutions(), *common_spaces())
    every = [phrase.lemma for phrase in (*institutions(), *common_spaces())]
    assert len(set(every)) == len(every)
    french = {p.lemma: " ".join(word for word, _, _ in p.french) for p in institutions()}
    assert french["the World Bank"] == "la Banque mondiale"
    assert french["the European Council"] == "le Conseil européen"


def _check(*phrases: Fixed) -> None:
    for phrase in phrases:
        linked = {place for _, links, _ in phrase.french for place in links}
        assert linked == set(range(len(phrase.english))), phrase
        assert all(links for _, links, _ in phrase.french)


def test_gender_and_number_are_those_of_the_article() -> None:
    genders = {phrase.lemma: (phrase.gender, phrase.many) for phrase in named(names.STATES)}
    assert genders["France"] == ("f", False)
    assert genders["Portugal"] == ("m", False)
    assert genders["the Netherlands"] == ("m", True)
    united = next(p for p in named(names.INSTITUTIONS) if p.lemma == "the United Nations")
    assert (united.gender, united.many) == ("f", True)


def _in(place: str) -> Fixed:
    return next(phrase for phrase in places() if phrase.lemma == f"in {place}")


@pytest.mark.parametrize(
    ("place", "french"),
    [
        ("France", ["en", "France"]),
        ("Portugal", ["à", "le", "Portugal"]),
        ("the Netherlands", ["à", "les", "Pays-Bas"]),
        ("Brussels", ["à", "Bruxelles"]),
        ("The Hague", ["à", "La", "Haye"]),
    ],
)
def test_places(place: str, french: list[str]) -> None:
    assert [word for word, _, _ in _in(place).french] == french


def test_shifted_moves_the_links_only() -> None:
    brussels = _in("Brussels")
    assert brussels.shifted(4) == [("à", (4,), False), ("Bruxelles", (5,), False)]
