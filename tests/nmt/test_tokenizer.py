""""""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError, ConfigError, DataError
from dlcli.nmt.tokenizer import (
    BOS,
    EOS,
    PAD,
    SPECIALS,
    UNK,
    Subwords,
    Tokenizer,
    Words,
    load_tokenizer,
)
from tests.nmt.sentences import pairs

SOME = pairs(0, 100)
TEXTS = [*SOME.source, *SOME.target]
ODD = [
    "The cat sees the dog.",
    " two  spaces ",
    "   ",
    "",
    "😀 日本 عربى \u202eאב",
    "▁ is ▁not▁ a space",
    "a\x00b\r\nc\t\ufeff",
    "<s> </s> <pad> <unk> <0x41>",
    "e\u0301 é ﬁ İ ẞ",
]


@pytest.fixture(scope="module")
def subwords() -> Subwords:
    return Subwords.learn(TEXTS, size=330)


@pytest.mark.parametrize("text", ODD)
def test_decoding_gives_the_text_back_whatever_it_is(subwords: Subwords, text: str) -> None:
    ids = subwords.encode(text)
    assert subwords.decode(ids) == text
    assert not {PAD, UNK, BOS, EOS} & set(ids)
    assert subwords.encode_all([text, "x", text]) == [ids, subwords.encode("x"), ids]


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_decoding_gives_any_text_back(subwords: Subwords, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert subwords.decode(subwords.encode(text)) == text


@pytest.mark.parametrize("text", [*ODD, *TEXTS[:5]])
def test_pieces_cover_the_text_without_gaps(subwords: Subwords, text: str) -> None:
    pieces = subwords.pieces(text)
    assert [piece.id for piece in pieces] == subwords.encode(text)
    covered = 0
    for piece in pieces:
        assert piece.start in (covered, piece.start if piece.end == covered else -1)
        covered = piece.end
        shown = piece.text.replace("▁", " ")
        if not shown.startswith("<0x"):
            assert (
                text[piece.start : piece.end] == shown[-(piece.end - piece.start) or len(shown) :]
            )
    assert covered == len(text)


def test_all_bytes_of_a_character_have_its_place(subwords: Subwords) -> None:
    places = [(p.start, p.end) for p in subwords.pieces("a😀") if p.text.startswith("<0x")]
    assert places == [(1, 2)] * 4


def test_special_tokens_come_first_and_decode_to_nothing(subwords: Subwords) -> None:
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert len(SPECIALS) == 4
    ids = subwords.encode("The dog.")
    assert subwords.decode([BOS, *ids, EOS, PAD]) == "The dog."


def test_frequent_words_are_whole(subwords: Subwords) -> None:
    assert [piece.text for piece in subwords.pieces("the cat the")] == ["▁the", "▁cat", "▁the"]


def test_the_same_sentences_give_the_same_vocabulary() -> None:
    first, again = (Subwords.learn(TEXTS, size=300) for _ in range(2))
    assert first._model == again._model


def test_lower_case_only() -> None:
    lower = Subwords.learn(TEXTS, size=300, lowercase=True)
    assert lower.encode("THE Cat") == lower.encode("the cat")
    assert lower.decode(lower.encode("THE  ÉCOLE İ 😀")) == "the  école İ 😀"
    assert [piece.end for piece in lower.pieces("The Cat")][-1] == 7


def test_a_vocabulary_beyond_the_corpus_is_shrunk_with_a_notice() -> None:
    notes: list[str] = []
    found = Subwords.learn(["a tiny corpus"], size=8000, notice=notes.append)
    assert found.size < 400
    assert str(found.size) in notes[0]
    assert "8000" in notes[0]
    assert found.decode(found.encode("a tiny corpus")) == "a tiny corpus"


def test_a_vocabulary_too_small_for_the_letters_is_refused_with_the_least_size() -> None:
    with pytest.raises(ConfigError, match="--vocabulary 100 is too small") as caught:
        Subwords.learn(TEXTS, size=100)
    least = int(caught.value.hint.split()[2])
    assert Subwords.learn(TEXTS, size=least).size == least


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_no_text_is_an_error(texts: list[str]) -> None:
    with pytest.raises(DataError, match="no text"):
        Subwords.learn(texts, size=300)


def test_saved_and_loaded_it_is_the_same(subwords: Subwords, tmp_path: Path) -> None:
    subwords.save(tmp_path)
    again = load_tokenizer(RunFolder(tmp_path))
    assert again.size == subwords.size
    assert again.encode(ODD[0]) == subwords.encode(ODD[0])


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 100])
def test_a_damaged_file_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a vocabulary"):
        load_tokenizer(RunFolder(tmp_path))


def test_both_kinds_are_found_in_a_run_folder(tmp_path: Path) -> None:
    kinds: list[Tokenizer] = [Subwords.learn(["a b"], size=266), Words.learn(["a"], ["b"], size=2)]
    for kind in kinds:
        folder = tmp_path / type(kind).__name__
        folder.mkdir()
        kind.save(folder)
        assert type(load_tokenizer(RunFolder(folder))) is type(kind)


def test_a_run_without_vocabulary_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="lost its vocabulary") as caught:
        load_tokenizer(RunFolder(tmp_path))
    assert "tokenizer.model" in caught.value.hint


WORDS_SOME = pairs(0, 100)
LARGE = Words.learn(WORDS_SOME.source, WORDS_SOME.target, size=1000)


def test_known_words_are_put_together_as_they_stood() -> None:
    for text in [*WORDS_SOME.source, *WORDS_SOME.target, "Le chien voit aujourd'hui. Le roi."]:
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


def test_words_lower_case_only() -> None:
    lower = Words.learn(WORDS_SOME.source, WORDS_SOME.target, size=1000, lowercase=True)
    assert lower.decode(lower.encode("THE Cat sees.")) == "the cat sees."


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_becomes_nothing(text: str) -> None:
    assert LARGE.encode(text) == []
    assert LARGE.decode([]) == ""


def test_words_no_text_is_an_error() -> None:
    with pytest.raises(DataError, match="no text"):
        Words.learn([""], [""], size=9)


def test_words_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    LARGE.save(tmp_path)
    again = load_tokenizer(RunFolder(tmp_path))
    assert again.encode_all(WORDS_SOME.source) == LARGE.encode_all(WORDS_SOME.source)
    assert again.size == LARGE.size


@pytest.mark.parametrize("content", ["", "[]", '{"words": ["a"], "lowercase": false}', "\x00"])
def test_words_a_damaged_file_is_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match="not a vocabulary"):
        load_tokenizer(RunFolder(tmp_path))
