"""Meanings: the combinations they are held out by."""

from __future__ import annotations

from dlcli.data.grammar.corpus import famous
from dlcli.data.grammar.meaning import Clause, Couple, Event, Group, Sentence, combinations
from dlcli.data.grammar.names import fixed
from tests.data.grammar.lexicon import adjective, name, noun, verb


def test_a_noun_meets_its_adjectives_and_the_verb_its_subject() -> None:
    assert list(combinations(famous())) == [("agreement", "sign")]
    law = Group("the", False, noun("law"), (adjective("new"), adjective("European")))
    clause = Clause("active", "past", name("the Senate"), verb("adopt"), law)
    assert set(combinations(Sentence(clause))) == {
        ("law", "new"),
        ("law", "European"),
        ("the Senate", "adopt"),
    }


def test_combinations_are_found_wherever_they_stand() -> None:
    event = Event(verb("sign"), fixed("in Rome | à:0 Rome:1"), False)
    treaty = Group("the", False, noun("treaty"), tail=event)
    both = Couple(name("France"), Group("the", False, noun("court"), (adjective("new"),)))
    first = Clause("active", "past", both, verb("try to"), deciding=verb("decide to"))
    second = Clause("state", "present", treaty, adjective("important"))
    reporter = (Group("a", False, noun("judge")), verb("say"), fixed("that | que:0"))
    joint = (fixed("and | et:0"), second)
    found = set(combinations(Sentence(first, reporter=reporter, joint=joint)))
    assert found == {
        ("judge", "say"),
        ("court", "new"),
        ("France", "try to"),
        ("court", "try to"),
        ("France", "decide to"),
        ("court", "decide to"),
        ("treaty", "sign"),
        ("treaty", "important"),
    }
