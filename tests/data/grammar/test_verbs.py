"""The verbs."""

from __future__ import annotations

from collections import Counter

from dlcli.data.grammar.nouns import KINDS
from dlcli.data.grammar.verbs import Verb, deciding, intransitive, reporting, transitive


def _every() -> list[Verb]:
    kinds = {kind[0] for kind in KINDS}
    found = {verb: None for kind in sorted(kinds) for verb in transitive("", kind)}
    found |= {verb: None for kind in sorted(kinds) for verb in intransitive(kind)}
    return [*found, *reporting(), *deciding()]


def _named(lemma: str) -> Verb:
    return next(verb for verb in _every() if verb.lemma == lemma)


def test_a_verb_has_one_translation_each_way() -> None:
    assert max(Counter(verb.lemma for verb in _every()).values()) == 1
    tails = Counter((verb.infinitive, verb.dit_after) for verb in _every())
    assert max(tails.values()) == 1


def test_regular_and_irregular_forms() -> None:
    assert _named("ratify").english == ("ratify", "ratified", "ratified")
    assert _named("choose").english == ("choose", "chose", "chosen")
    assert _named("sign").participles == ("signé", "signés", "signée", "signées")
    assert _named("submit").participles == ("soumis", "soumis", "soumise", "soumises")
    assert _named("reject").stem + "a" == "rejettera"
    assert _named("receive").stem + "a" == "recevra"
    assert _named("build").stem + "a" == "construira"
    assert _named("arrive").moves
    assert not _named("take place").moves


def test_tails_are_linked_word_for_word() -> None:
    assert _named("take place").dit_after == (("lieu", 1),)
    assert _named("enter into force").dit_after == (("en", 1), ("vigueur", 2))
    assert _named("implement").dit_after == (("en", 0), ("œuvre", 0))
    assert _named("decide to").dit_after == (("de", 1),)


def test_roles() -> None:
    assert _named("ratify") in transitive("N", "t")
    assert _named("ratify") not in transitive("c", "t")
    assert not transitive("b", "x")
