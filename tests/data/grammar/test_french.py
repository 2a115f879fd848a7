"""French forms."""

from __future__ import annotations

import pytest

from dlcli.data.grammar.french import feminine, four_forms, future_stem, participle, plural


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("accord", "accords"),
        ("journal", "journaux"),
        ("réseau", "réseaux"),
        ("avis", "avis"),
        ("ambitieux", "ambitieux"),
        ("national", "nationaux"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize(
    ("man", "woman"),
    [
        ("important", "importante"),
        ("européen", "européenne"),
        ("premier", "première"),
        ("industriel", "industrielle"),
        ("ambitieux", "ambitieuse"),
        ("définitif", "définitive"),
        ("économique", "économique"),
        ("commun", "commune"),
        ("bon", "bonne"),
        ("français", "française"),
    ],
)
def test_feminines(man: str, woman: str) -> None:
    assert feminine(man) == woman


def test_participles_and_the_future() -> None:
    assert [participle(verb) for verb in ("signer", "établir", "suivre")] == [
        "signé",
        "établi",
        "suivi",
    ]
    assert [future_stem(verb) + "a" for verb in ("signer", "établir", "construire")] == [
        "signera",
        "établira",
        "construira",
    ]
    assert four_forms("signé") == ("signé", "signés", "signée", "signées")
    assert four_forms("mis") == ("mis", "mis", "mise", "mises")
