"""Moses's tokens, where sacremoses is installed."""

from __future__ import annotations

import pytest

from dlcli.nmt.text import moses_available, moses_tokenized, moses_version

needs_sacremoses = pytest.mark.skipif(not moses_available(), reason="sacremoses is not installed")


@needs_sacremoses
def test_french_elisions_are_tokens_of_their_own() -> None:
    found = moses_tokenized(["L'homme dit : « 2,5 % »…", ""], language="fr", lowercase=True)
    assert found[0].split()[:3] == ["l'", "homme", "dit"]
    assert "&" not in found[0]
    assert found[1] == ""
    assert moses_version()


@needs_sacremoses
def test_english_keeps_its_case() -> None:
    assert moses_tokenized(["A man's hat."], language="en") == ["A man 's hat ."]
