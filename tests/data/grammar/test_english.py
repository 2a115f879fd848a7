"""English forms."""

from __future__ import annotations

import pytest

from dlcli.data.grammar.english import indefinite, past, plural


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("agreement", "agreements"),
        ("policy", "policies"),
        ("survey", "surveys"),
        ("tax", "taxes"),
        ("congress", "congresses"),
        ("church", "churches"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize(
    ("verb", "form"),
    [("adopt", "adopted"), ("approve", "approved"), ("ratify", "ratified"), ("delay", "delayed")],
)
def test_past(verb: str, form: str) -> None:
    assert past(verb) == form


@pytest.mark.parametrize(
    ("word", "article"),
    [
        ("agreement", "an"),
        ("European", "a"),
        ("unilateral", "a"),
        ("useful", "a"),
        ("urgent", "an"),
        ("honest", "an"),
        ("historic", "a"),
        ("Italian", "an"),
        ("treaty", "a"),
    ],
)
def test_the_article_goes_by_sound(word: str, article: str) -> None:
    assert indefinite(word) == article
