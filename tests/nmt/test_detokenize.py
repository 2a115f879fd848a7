"""Tokens into running text and back to where they came from."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcli.nmt.text import Detokenized, as_given, detokenize
from tests.conftest import SHARED_DATA

FRENCH = {
    "de le État , il est": "De l'État, il est",
    "partage de les pensions": "Partage des pensions",
    "À le sein de le gouvernement": "Au sein du gouvernement",
    "ce est que il ne y a": "C'est qu'il n'y a",
    "puis - je en parler ?": "Puis-je en parler?",
    "aujourd' hui à le onze": "Aujourd'hui au onze",
    "l' accord , d' abord": "L'accord, d'abord",
    "7 % de 2 $": "7 % de 2 $",
    "a) ( b ) « oui » .": "A) (b) « oui ».",
}
ENGLISH = {
    "the Minister 's $ 2 million , is n't it ?": "The Minister's $2 million, isn't it?",
    "re - supply ( Mr. X ) : 7 %": "Re-supply (Mr. X): 7%",
    "no - , - yes": "No -, - yes",
    "de le and/or": "De le and/or",
}


@pytest.mark.parametrize(("given_tokens", "wanted"), FRENCH.items())
def test_french(given_tokens: str, wanted: str) -> None:
    assert detokenize(given_tokens.split(), language="fr").text == wanted


@pytest.mark.parametrize(("given_tokens", "wanted"), ENGLISH.items())
def test_english(given_tokens: str, wanted: str) -> None:
    assert detokenize(given_tokens.split(), language="en").text == wanted


def test_spans_say_what_became_of_each_token() -> None:
    found = french("compte de le Accord de le Ouest et de les")
    assert found.text == "Compte de l'Accord de l'Ouest et de les"
    found = french("aide à les jeunes de le Nord .", capitalize=False)
    assert found.text == "aide aux jeunes du Nord."
    assert pieces(found) == ["aide", "aux", "aux", "jeunes", "du", "du", "Nord", "."]
    assert found.spans[1] == found.spans[2]


def test_nothing_and_text_as_it_is() -> None:
    assert detokenize([], language="fr") == Detokenized(text="", spans=())
    assert as_given("de le  x", words=[(0, 2), (7, 8)]).spans == ((0, 2), (7, 8))


def french(tokens: str, **settings: bool) -> Detokenized:
    return detokenize(tokens.split(), language="fr", **settings)


def pieces(found: Detokenized) -> list[str]:
    return [found.text[start:end] for start, end in found.spans]


TRICKY = "de le les la à que ce si je - ' , . ( ) $ % \" l' aujourd' est il État héros homme 11 ß"
TOKENS = st.lists(
    st.one_of(
        st.sampled_from(TRICKY.split()),
        st.text(min_size=1, max_size=5).filter(lambda t: t.split() == [t]),
    )
)


@given(tokens=TOKENS, language=st.sampled_from(["fr", "en"]))
def test_every_token_keeps_some_characters(tokens: list[str], language: str) -> None:
    found = detokenize(tokens, language=language)
    assert len(found.spans) == len(tokens)
    end_before = 0
    for start, end in found.spans:
        assert 0 <= start < end <= len(found.text)
        assert end >= end_before
        end_before = end
    covered = {at for start, end in found.spans for at in range(start, end)}
    assert all(at in covered or found.text[at] == " " for at in range(len(found.text)))


@given(tokens=TOKENS)
def test_what_is_not_french_keeps_its_letters(tokens: list[str]) -> None:
    found = detokenize(tokens, language="en", capitalize=False)
    assert pieces(found) == tokens


def test_the_hansards_come_out_as_french(pytestconfig: pytest.Config) -> None:
    path = Path(SHARED_DATA) / "alignment" / "hansards_dev100.src-tgt"
    if not path.is_file():
        pytest.skip(f"no alignment data at {path.parent}")
    for line in path.read_text(encoding="utf-8").splitlines():
        source, target = (side.split() for side in line.split("|||"))
        text = detokenize(target, language="fr").text
        assert not {"de le", "à le", "de les", "à les", "que il"} & set(bigrams(text))
        assert len(detokenize(source, language="en").spans) == len(source)


def bigrams(text: str) -> list[str]:
    words = text.split()
    return [f"{a} {b}" for a, b in itertools.pairwise(words)]
