"""Clauses and sentences in both languages."""

from __future__ import annotations

import pytest

from dlcli.data.grammar.clauses import say_sentence
from dlcli.data.grammar.corpus import famous
from dlcli.data.grammar.meaning import Clause, Group, Negation, Sentence, Tense
from dlcli.data.grammar.names import fixed
from tests.data.grammar.lexicon import adjective, name, noun, verb

LAWS = Group("the", True, noun("law"))


def test_the_famous_sentence() -> None:
    """Its links: the area's three words cross, "was" stands for two."""
    example = say_sentence(famous())
    assert example.source == (
        "The agreement on the European Economic Area was signed in August 1992."
    )
    assert example.target == (
        "L'accord sur la zone économique européenne a été signé en août 1992."
    )
    assert example.links == ("0-0 1-1 2-2 3-3 4-6 5-5 6-4 7-7 7-8 8-9 9-10 10-11 11-12 12-13")


@pytest.mark.parametrize(
    ("tense", "negation", "english", "french"),
    [
        ("past", "", "were signed", "ont été signées"),
        ("past", "not", "were not signed", "n'ont pas été signées"),
        ("future", "", "will be signed", "seront signées"),
        ("future", "not", "will not be signed", "ne seront pas signées"),
        ("pluperfect", "not", "had not been signed", "n'avaient pas été signées"),
        ("conditional", "", "would be signed", "seraient signées"),
        ("must", "", "must be signed", "doivent être signées"),
        ("can", "", "can be signed", "peuvent être signées"),
    ],
)
def test_passives_agree(tense: Tense, negation: Negation, english: str, french: str) -> None:
    example = say_sentence(
        Sentence(Clause("passive", tense, LAWS, verb("sign"), negation=negation))
    )
    assert example.source == f"The laws {english}."
    assert example.target == f"Les lois {french}."


@pytest.mark.parametrize(
    ("tense", "negation", "english", "french"),
    [
        ("past", "", "adopted", "a adopté"),
        ("past", "not", "did not adopt", "n'a pas adopté"),
        ("past", "never", "never adopted", "n'a jamais adopté"),
        ("future", "", "will adopt", "adoptera"),
        ("future", "not", "will not adopt", "n'adoptera pas"),
        ("pluperfect", "", "had adopted", "avait adopté"),
        ("should", "", "should adopt", "devrait adopter"),
    ],
)
def test_actives(tense: Tense, negation: Negation, english: str, french: str) -> None:
    clause = Clause("active", tense, name("the Senate"), verb("adopt"), LAWS, negation=negation)
    example = say_sentence(Sentence(clause))
    assert example.source == f"The Senate {english} the laws."
    assert example.target == f"Le Sénat {french} les lois."


def test_verbs_with_etre_agree_and_tails_follow() -> None:
    clause = Clause("active", "past", LAWS, verb("enter into force"))
    example = say_sentence(Sentence(clause))
    assert example.target == "Les lois sont entrées en vigueur."
    assert example.links == "0-0 1-1 2-2 2-3 3-4 4-5 5-6"
    summit = Group("a", False, noun("summit"))
    took = say_sentence(Sentence(Clause("active", "past", summit, verb("take place"))))
    assert took.target == "Un sommet a eu lieu."


def test_adverbs_stand_where_each_language_has_them() -> None:
    def said(clause: Clause) -> tuple[str, str]:
        example = say_sentence(Sentence(clause))
        return example.source, example.target

    manner = name("officially")
    assert said(Clause("passive", "past", LAWS, verb("adopt"), manner=manner)) == (
        "The laws were officially adopted.",
        "Les lois ont été officiellement adoptées.",
    )
    nato = name("NATO")
    assert said(Clause("active", "future", nato, verb("adopt"), LAWS, manner=manner)) == (
        "NATO will officially adopt the laws.",
        "L'OTAN adoptera officiellement les lois.",
    )


def test_longer_sentences() -> None:
    state = Clause("state", "past", LAWS, adjective("necessary"))
    judges = Group("some", True, noun("judge"))
    said = say_sentence(Sentence(state, reporter=(judges, verb("say"), fixed("that | que:0"))))
    assert said.source == "Some judges said that the laws were necessary."
    assert said.target == "Certains juges ont dit que les lois étaient nécessaires."
    decided = Clause(
        "active", "past", name("Egypt"), verb("approve"), LAWS, deciding=verb("decide to")
    )
    joint = (fixed(", but | ,:0 mais:1"), decided)
    both = say_sentence(Sentence(state, first=fixed("in 1992 | en:0 1992:1"), joint=joint))
    assert both.source == "In 1992, the laws were necessary, but Egypt decided to approve the laws."
    assert both.target == (
        "En 1992, les lois étaient nécessaires, mais l'Égypte a décidé d'approuver les lois."
    )
