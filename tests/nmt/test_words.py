from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError, DataError
from dlcli.nmt.tokenizer import BOS, EOS, PAD, SPECIALS, UNK, Words, load_tokenizer
from tests.nmt.sentences import pairs

SOME = pairs(0, 100)
LARGE = Words.learn(SOME.source, SOME.target, size=1000)


def test_known_words_are_put_together_as_they_stood() -> None:
    for text in [*SOME.source, *SOME.target, "Le chien voit aujourd'hui. Le roi."]:
        assert LARGE.decode(LARGE.encode(text)) == text


def test_the_shortlist_has_the_most_frequent_words_of_each_language() -> None:
    small = Words.learn(["a a a b b c"], ["x x y y y z"], size=2)
    assert small.size == 4 + 4
    assert small.encode("a b c x y z") == [4, 5, UNK, 7, 6, UNK]
    assert small.decode(small.encode("a b c y")) == "a b <unk> y"


def test_a_word_of_both_languages_has_one_id() -> None:
    assert Words.learn(["a b"], ["a c"], size=9).size == 4 + 3


def test_special_tokens_decode_to_nothing_and_cannot_be_typed() -> None:
    ids = LARGE.encode("The cat.")
    assert LARGE.decode([BOS, *ids, EOS, PAD]) == "The cat."
    assert not {PAD, BOS, EOS} & set(LARGE.encode(" ".join(SPECIALS)))


def test_pieces_are_words_with_their_places() -> None:
    text = "The cat, here."
    pieces = LARGE.pieces(text)
    assert [text[piece.start : piece.end] for piece in pieces] == ["The", "cat", ",", "here", "."]
    assert [piece.id for piece in pieces] == LARGE.encode(text)
    assert [piece.text for piece in pieces] == ["▁The", "▁cat", ",", "▁here", "."]


def test_lower_case_only() -> None:
    lower = Words.learn(SOME.source, SOME.target, size=1000, lowercase=True)
    assert lower.decode(lower.encode("THE Cat sees.")) == "the cat sees."


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_becomes_nothing(text: str) -> None:
    assert LARGE.encode(text) == []
    assert LARGE.decode([]) == ""


def test_no_text_is_an_error() -> None:
    with pytest.raises(DataError, match="no text"):
        Words.learn([""], [""], size=9)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    LARGE.save(tmp_path)
    again = load_tokenizer(RunFolder(tmp_path))
    assert again.encode_all(SOME.source) == LARGE.encode_all(SOME.source)
    assert again.size == LARGE.size


@pytest.mark.parametrize("content", ["", "[]", '{"words": ["a"], "lowercase": false}', "\x00"])
def test_a_damaged_file_is_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match="not a vocabulary"):
        load_tokenizer(RunFolder(tmp_path))
