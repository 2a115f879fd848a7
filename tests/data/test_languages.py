"""Names of languages and of pairs of them."""

from __future__ import annotations

import pytest

from dlcli.data.languages import language, languages_of
from dlcli.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("de", "de"),
        ("deu", "de"),
        ("GER", "de"),
        ("cmn", "zh"),
        ("pt-BR", "pt_BR"),
        ("zho_Hant", "zh_Hant"),
        ("klingon", "klingon"),
        ("türkçe", "türkçe"),
        ("qaa", "qaa"),
    ],
)
def test_all_forms_of_a_name_are_one(given: str, name: str) -> None:
    assert language(given) == name
    assert languages_of(f"{name}-en") == (name, "en")


@pytest.mark.parametrize("name", ["", " ", "-", "a b", "a|b", "../x", "1", "x" * 41])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a language") as caught:
        language(name)
    assert caught.value.hint


@pytest.mark.parametrize("direction", ["", "en", "en-", "-fr", "en-fr-de", "en fr", "e/n-fr"])
def test_what_is_no_direction_is_refused(direction: str) -> None:
    with pytest.raises(ConfigError, match="There is no direction") as caught:
        languages_of(direction)
    assert caught.value.hint
