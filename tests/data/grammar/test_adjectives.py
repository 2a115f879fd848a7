"""The adjectives."""

from __future__ import annotations

from collections import Counter

from dlcli.data.grammar.adjectives import SLOTS, Adjective, adjectives
from dlcli.data.grammar.nouns import KINDS


def _every() -> dict[str, Adjective]:
    found = [a for slot in SLOTS for kind in KINDS for a in adjectives(slot, kind)]
    return {adjective.lemma: adjective for adjective in found}


def test_an_adjective_has_one_translation_each_way() -> None:
    french = Counter(adjective.french[0] for adjective in _every().values())
    assert max(french.values()) == 1
    lines = sum(len(text.strip().splitlines()) for text in SLOTS.values())
    assert len(_every()) == lines


def test_forms_by_gender_and_number() -> None:
    forms = {lemma: [words[0] for words in a.french] for lemma, a in _every().items()}
    assert forms["new"] == ["nouveau", "nouveaux", "nouvelle", "nouvelles"]
    assert forms["social"] == ["social", "sociaux", "sociale", "sociales"]
    assert forms["ambitious"] == ["ambitieux", "ambitieux", "ambitieuse", "ambitieuses"]
    assert forms["public"] == ["public", "publics", "publique", "publiques"]
    assert forms["Greek"] == ["grec", "grecs", "grecque", "grecques"]
    assert forms["bad"] == ["mauvais", "mauvais", "mauvaise", "mauvaises"]
    assert forms["first"] == ["premier", "premiers", "première", "premières"]
    assert forms["secret"] == ["secret", "secrets", "secrète", "secrètes"]


def test_places_beside_the_noun() -> None:
    every = _every()
    assert every["new"].before
    assert not every["European"].before
    assert every["emergency"].french[0] == ("de", "urgence")
    assert not every["emergency"].agrees


def test_every_kind_of_noun_has_adjectives() -> None:
    assert all(adjectives("age", kind) and adjectives("scope", kind) for kind in KINDS)
