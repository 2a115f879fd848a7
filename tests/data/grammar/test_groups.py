"""The space of noun phrases."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from dlcli.data.grammar.draft import Draft
from dlcli.data.grammar.groups import groups
from dlcli.data.grammar.meaning import Event, Group
from dlcli.data.grammar.nouns import KINDS
from dlcli.data.grammar.phrases import DETERMINERS, say_phrase


def _drawn(kind: str, *, count: int = 400, **options: bool) -> list[Group]:
    chance, space = random.Random(5).random, groups(kind, subject=True, **options)
    return [space.draw(chance) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_determiners_fit_the_number(kind: str) -> None:
    for group in _drawn(kind):
        assert DETERMINERS[group.determiner][1][group.many]


def test_only_definite_nouns_have_a_rank() -> None:
    for group in _drawn("texts", count=2_000):
        if any(adjective.slot == "rank" for adjective in group.adjectives):
            assert group.determiner == "the"


def test_adjectives_come_in_the_english_order_one_a_slot() -> None:
    order = ["rank", "value", "age", "scope", "field"]
    for group in _drawn("measures", count=1_000):
        places = [order.index(adjective.slot) for adjective in group.adjectives]
        assert places == sorted(set(places))
        assert all("m" in adjective.kinds for adjective in group.adjectives)


def test_small_and_definite_phrases() -> None:
    assert not any(group.tail for group in _drawn("texts", small=True))
    assert any(isinstance(group.tail, Event) for group in _drawn("texts"))
    assert {group.determiner for group in _drawn("texts", definite=True)} == {"the"}


def test_every_phrase_is_said_differently() -> None:
    """The first 20,000 of a space, listed: it is as large as its phrases are many."""
    said = set()
    for group in islice(groups("treaties", subject=True), 20_000):
        draft = Draft()
        say_phrase(draft, group)
        example = draft.finish()
        said.add((example.source, example.target))
    assert len(said) == 20_000
