"""Contraction and elision."""

from __future__ import annotations

import pytest

from dlcli.data.grammar.adjectives import SLOTS
from dlcli.data.grammar.elision import ASPIRATED, contract, elide, elides
from dlcli.data.grammar.nouns import KINDS, nouns


def _joined(text: str) -> str:
    tokens = [(word, (at,), False) for at, word in enumerate(text.split())]
    return " ".join(word for word, _, _ in elide(contract(tokens)))


@pytest.mark.parametrize(
    ("full", "written"),
    [
        ("le accord", "l' accord"),
        ("la Union", "l' Union"),
        ("le héros", "le héros"),
        ("la hausse", "la hausse"),
        ("le hôpital", "l' hôpital"),
        ("de le Conseil", "du Conseil"),
        ("de le accord", "de l' accord"),
        ("de la loi", "de la loi"),
        ("de les accords", "des accords"),
        ("de le hall", "du hall"),
        ("à le Portugal", "au Portugal"),
        ("à les Pays-Bas", "aux Pays-Bas"),
        ("de des lois", "de lois"),
        ("de des accords", "d' accords"),
        ("de de nombreuses lois", "de nombreuses lois"),
        ("de un accord", "d' un accord"),
        ("que un accord", "qu' un accord"),
        ("que huit accords", "que huit accords"),
        ("ne a pas", "n' a pas"),
        ("ce accord", "cet accord"),
        ("ce traité", "ce traité"),
        ("ce hangar", "ce hangar"),
        ("sa initiative", "son initiative"),
        ("sa stratégie", "sa stratégie"),
        ("le nouveau accord", "le nouvel accord"),
        ("les nouveaux accords", "les nouveaux accords"),
        ("le 8 mai", "le 8 mai"),
        ("de 1992", "de 1992"),
        ("avec la Hongrie", "avec la Hongrie"),
    ],
)
def test_neighbours(full: str, written: str) -> None:
    assert _joined(full) == written


def test_a_joined_article_keeps_both_links_but_no_borrowed_one() -> None:
    both = contract([("de", (3,), False), ("le", (4,), False), ("Conseil", (5,), False)])
    assert both == [("du", (3, 4), False), ("Conseil", (5,), False)]
    lent = contract([("de", (3,), False), ("le", (4,), True), ("Portugal", (4,), False)])
    assert lent == [("du", (3,), False), ("Portugal", (4,), False)]


MUTE = {"hôpital", "hôtel", "habitant", "homme", "historique", "honnête", "humanitaire"}
MUTE |= {"harmoniser", "hésiter"}


def test_every_h_was_thought_about() -> None:
    words = {form for kind in KINDS for noun in nouns(kind) for form in noun.french}
    words |= {line.split()[1] for text in SLOTS.values() for line in text.strip().splitlines()}
    with_h = {word for word in words if word.startswith("h")}
    mute = {
        word for word in with_h if word.removesuffix("s") in MUTE or word in MUTE | {"hôpitaux"}
    }
    assert with_h - mute <= ASPIRATED
    assert not mute & ASPIRATED
    assert all(elides(word) for word in MUTE)
