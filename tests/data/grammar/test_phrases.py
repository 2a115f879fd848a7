"""Noun phrases in both languages."""

from __future__ import annotations

import pytest

from dlcli.data.grammar.draft import Draft
from dlcli.data.grammar.meaning import Complement, Couple, Event, Group, Phrase
from dlcli.data.grammar.names import fixed
from dlcli.data.grammar.phrases import DETERMINERS, say_phrase
from tests.data.grammar.lexicon import adjective, name, noun


def _group(text: str, *, many: bool = False) -> Group:
    determiner, *words, head = text.split()
    return Group(
        "" if determiner == "-" else determiner, many, noun(head), tuple(map(adjective, words))
    )


def _said(phrase: Phrase) -> tuple[str, str, str]:
    draft = Draft()
    say_phrase(draft, phrase)
    example = draft.finish()
    return example.source, example.target, example.links


@pytest.mark.parametrize(
    ("text", "many", "english", "french"),
    [
        ("the treaty", False, "The treaty", "Le traité"),
        ("the agreement", False, "The agreement", "L'accord"),
        ("this agreement", False, "This agreement", "Cet accord"),
        ("this law", False, "This law", "Cette loi"),
        ("a new agreement", False, "A new agreement", "Un nouvel accord"),
        ("- new law", True, "New laws", "De nouvelles lois"),
        ("- European law", True, "European laws", "Des lois européennes"),
        ("many hospital", True, "Many hospitals", "De nombreux hôpitaux"),
        ("all law", True, "All the laws", "Toutes les lois"),
        ("another law", False, "Another law", "Une autre loi"),
        ("both hero", True, "Both heroes", "Les deux héros"),
        ("its initiative", False, "Its initiative", "Son initiative"),
        ("their new law", True, "Their new laws", "Leurs nouvelles lois"),
        ("the first peace treaty", False, "The first peace treaty", "Le premier traité de paix"),
    ],
)
def test_determiners(text: str, many: bool, english: str, french: str) -> None:
    assert _said(_group(text, many=many))[:2] == (english, french)


def test_adjectives_behind_the_noun_run_against_the_english_order() -> None:
    said = _said(_group("an important European economic agreement".replace("an", "a", 1)))
    assert said == (
        "An important European economic agreement",
        "Un accord économique européen important",
        "0-0 1-4 2-3 3-2 4-1",
    )


def test_a_couple_is_feminine_only_if_both_are() -> None:
    draft = Draft()
    mixed = say_phrase(draft, Couple(name("France"), _group("the government")))
    women = say_phrase(draft, Couple(name("France"), _group("the queen")))
    assert (mixed.form, women.form) == (1, 3)
    assert say_phrase(draft, name("the United States")) == (False, True, False)


def test_what_follows_a_noun() -> None:
    area = Complement(("of", "de"), name("the Council"))
    assert _said(Group("the", False, noun("president"), tail=area)) == (
        "The president of the Council",
        "Le président du Conseil",
        "0-0 1-1 2-2 3-2 4-3",
    )
    from tests.data.grammar.lexicon import verb

    rome = fixed("in Rome | à:0 Rome:1")
    laws = Group("the", True, noun("law"), tail=Event(verb("implement"), rome, True))
    assert _said(laws)[:2] == (
        "The laws that were implemented in Rome",
        "Les lois qui ont été mises en œuvre à Rome",
    )


def test_each_determiner_has_forms_of_one_number_at_least() -> None:
    for one, many, woman, women in (forms for _, forms in DETERMINERS.values()):
        assert bool(one) == bool(woman)
        assert bool(many) == bool(women)
        assert one or many
