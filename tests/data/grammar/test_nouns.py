"""The nouns."""

from __future__ import annotations

from collections import Counter

from dlcli.data.grammar.nouns import KINDS, nouns

EVERY = [noun for kind in KINDS for noun in nouns(kind)]


def test_a_noun_has_one_translation_each_way() -> None:
    assert not [n for n, count in Counter(n.lemma for n in EVERY).items() if count > 1]
    assert not [n for n, count in Counter(n.french[0] for n in EVERY).items() if count > 1]


def test_genders_that_are_easily_wrong() -> None:
    genders = {noun.french[0]: noun.gender for noun in EVERY}
    feminine = {"visite", "crise", "loi", "norme", "réunion", "victime", "église", "gare", "hausse"}
    masculine = {"musée", "groupe", "programme", "système", "privilège", "congrès", "protocole"}
    assert {word for word in feminine | masculine if genders[word] == "f"} == feminine


def test_suffixes_agree_with_the_gender() -> None:
    """French -tion, -té, -ure are feminine, -ment, -isme, -eau masculine: a check of the table."""
    for noun in EVERY:
        if noun.french[0].endswith(("tion", "sion", "ure", "ance", "ence")):
            assert noun.gender == "f", noun.lemma
        if noun.french[0].endswith(("ment", "eau", "eur", "er", "oire")):
            assert noun.gender == "m", noun.lemma


def test_irregular_plurals() -> None:
    forms = {noun.lemma: (noun.english[1], noun.french[1]) for noun in EVERY}
    assert forms["crisis"] == ("crises", "crises")
    assert forms["fisherman"] == ("fishermen", "pêcheurs")
    assert forms["festival"] == ("festivals", "festivals")
    assert forms["hospital"] == ("hospitals", "hôpitaux")
    assert forms["fund"] == ("funds", "fonds")
