"""Elision and contraction, and where they stop."""

from __future__ import annotations

import pytest

from dlcli.nmt.text import begins_with_vowel, contracted, elided


@pytest.mark.parametrize(
    ("word", "before", "wanted"),
    [
        ("le", "État", "l'"), ("Le", "entreprise", "L'"), ("la", "école", "l'"),
        ("de", "histoire", "d'"), ("que", "il", "qu'"), ("je", "ai", "j'"), ("se", "y", "s'"),
        ("jusque", "en", "jusqu'"), ("lorsque", "on", "lorsqu'"), ("ce", "est", "c'"),
        ("ce", "était", "c'"), ("si", "ils", "s'"), ("de", "œuvres", "d'"), ("de", "Yves", "d'"),
        ("le", "président", ""), ("le", "héros", ""), ("la", "hausse", ""), ("le", "onze", ""),
        ("le", "yen", ""), ("le", "oui", ""), ("de", "11", ""), ("de", ",", ""), ("de", "", ""),
        ("ce", "à", ""), ("si", "elle", ""), ("si", "on", ""), ("lorsque", "Anne", ""),
        ("les", "amis", ""), ("du", "eau", ""),
    ],
)  # fmt: skip
def test_elision(word: str, before: str, wanted: str) -> None:
    assert elided(word, before=before) == wanted


@pytest.mark.parametrize(
    ("first", "second", "then", "wanted"),
    [
        ("de", "le", "ministre", "du"), ("de", "les", "amis", "des"), ("à", "le", "sein", "au"),
        ("à", "les", "440", "aux"), ("De", "le", "pain", "Du"), ("À", "le", "Canada", "Au"),
        ("de", "le", "héros", "du"),
        ("de", "le", "État", ""), ("à", "le", "hôtel", ""), ("de", "la", "mer", ""),
        ("de", "le", "faire", ""), ("de", "le", "", ""), ("sur", "le", "plan", ""),
        ("de", "Le", "Monde", ""),
    ],
)  # fmt: skip
def test_contraction(first: str, second: str, then: str, wanted: str) -> None:
    assert contracted(first, second, then=then) == wanted


def test_mute_and_aspirated_h() -> None:
    assert all(map(begins_with_vowel, ["homme", "heure", "hôpital", "hallucination", "Hélène"]))
    assert not any(map(begins_with_vowel, ["haut", "Hongrie", "huit", "handicap", "hors", "h", ""]))
