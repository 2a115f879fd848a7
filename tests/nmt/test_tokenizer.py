"""Subwords and words: any text and back, their places, their files."""

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
from tests.nmt.toy import pairs

SOME = pairs(0, 100)
TEXTS = [*SOME.source, *SOME.target]
SUBWORDS = Subwords.learn(TEXTS, size=330)
WORDS = Words.learn(SOME.source, SOME.target, size=1000)
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
both = pytest.mark.parametrize("tokenizer", [SUBWORDS, WORDS], ids=["subwords", "words"])


@both
def test_special_tokens_come_first_decode_to_nothing_and_cannot_be_typed(
    tokenizer: Tokenizer,
) -> None:
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert SPECIALS == ("<pad>", "<unk>", "<s>", "</s>")
    ids = tokenizer.encode("The dog.")
    assert tokenizer.decode([BOS, *ids, EOS, PAD]) == "The dog."
    assert not {PAD, BOS, EOS} & set(tokenizer.encode(" ".join(SPECIALS)))


@both
def test_known_words_are_put_together_as_they_stood(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_all(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    for text in [*TEXTS, "Le chien voit aujourd'hui. Le roi."]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""


@both
def test_saved_and_loaded_it_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    again = load_tokenizer(RunFolder(tmp_path))
    assert type(again) is type(tokenizer)
    assert again.size == tokenizer.size
    assert again.encode_all([*TEXTS, *ODD]) == tokenizer.encode_all([*TEXTS, *ODD])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("tokenizer.model", content) for content in (b"", b"not a model", b"\x00" * 100)),
        ("tokenizer.json", b""),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b'{"words": ["a"], "lowercase": false}'),
        ("tokenizer.json", b"\x00"),
    ],
)
def test_a_damaged_file_is_an_error(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="not a vocabulary"):
        load_tokenizer(RunFolder(tmp_path))


def test_a_run_without_vocabulary_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="lost its vocabulary") as caught:
        load_tokenizer(RunFolder(tmp_path))
    assert "tokenizer.model" in caught.value.hint


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_no_text_is_an_error(texts: list[str]) -> None:
    with pytest.raises(DataError, match="no text"):
        Subwords.learn(texts, size=300)
    with pytest.raises(DataError, match="no text"):
        Words.learn(texts, texts, size=9)


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.sampled_from(ODD))
def test_decoding_subwords_gives_any_text_back(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    ids = SUBWORDS.encode(text)
    assert SUBWORDS.decode(ids) == text
    assert not {PAD, UNK, BOS, EOS} & set(ids)
    assert SUBWORDS.encode_all([text, "x", text]) == [ids, SUBWORDS.encode("x"), ids]


@pytest.mark.parametrize("text", [*ODD, *TEXTS[:5]])
def test_subwords_cover_the_text_without_gaps(text: str) -> None:
    pieces = SUBWORDS.pieces(text)
    assert [piece.id for piece in pieces] == SUBWORDS.encode(text)
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


def test_frequent_words_are_whole_and_all_bytes_of_a_character_have_its_place() -> None:
    assert [piece.text for piece in SUBWORDS.pieces("the cat the")] == ["▁the", "▁cat", "▁the"]
    places = [(p.start, p.end) for p in SUBWORDS.pieces("a😀") if p.text.startswith("<0x")]
    assert places == [(1, 2)] * 4


def test_lower_case_only() -> None:
    lower = Subwords.learn(TEXTS, size=300, lowercase=True)
    assert lower.encode("THE Cat") == lower.encode("the cat")
    assert lower.decode(lower.encode("THE  ÉCOLE İ 😀")) == "the  école İ 😀"
    assert [piece.end for piece in lower.pieces("The Cat")][-1] == 7
    words = Words.learn(SOME.source, SOME.target, size=1000, lowercase=True)
    assert words.decode(words.encode("THE Cat sees.")) == "the cat sees."


def test_the_same_sentences_give_the_same_vocabulary(tmp_path: Path) -> None:
    saved = []
    for name, one in (("first", SUBWORDS), ("again", Subwords.learn(TEXTS, size=330))):
        (tmp_path / name).mkdir()
        one.save(tmp_path / name)
        saved.append((tmp_path / name / "tokenizer.model").read_bytes())
    assert saved[0] == saved[1]


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


UNSPACED = ["我们去北京。", "猫が好きです。", "ฉันรักแมว 12 ตัว", "kalutemirana", "ქართული"]


def test_text_without_spaces_comes_back_as_it_was() -> None:
    subwords = Subwords.learn(UNSPACED, size=340)
    words = Words.learn(UNSPACED, UNSPACED, size=1000, languages=("zh", "th"))
    for text in UNSPACED:
        for tokenizer in (subwords, words):
            assert tokenizer.decode(tokenizer.encode(text)) == text
            spans = [text[piece.start : piece.end] for piece in tokenizer.pieces(text)]
            assert "".join(spans).replace(" ", "") == text.replace(" ", "")
    assert len(words.encode("我们去北京。")) == 6


@pytest.mark.parametrize(
    ("languages", "count"), [(("en", "fr"), 2), (("de", "fr"), 2), (("de", "cs"), 1)]
)
def test_a_shortlist_elides_where_a_side_is_french_and_remembers_it(
    languages: tuple[str, str], count: int, tmp_path: Path
) -> None:
    words = Words.learn(["d'accord"], ["d'accord"], size=9, languages=languages)
    words.save(tmp_path)
    assert ("languages" in (tmp_path / "tokenizer.json").read_text()) == (languages != ("en", "fr"))
    again = Words.load(tmp_path / "tokenizer.json")
    assert len(words.encode("d'accord")) == len(again.encode("d'accord")) == count


def test_the_shortlist_has_the_most_frequent_words_of_each_language() -> None:
    small = Words.learn(["a a a b b c"], ["x x y y y z"], size=2)
    assert small.size == 4 + 4
    assert small.encode("a b c x y z") == [4, 5, UNK, 7, 6, UNK]
    assert small.decode(small.encode("a b c y")) == "a b <unk> y"
    assert Words.learn(["a b"], ["a c"], size=9).size == 4 + 3  # "a" has one id


def test_words_have_their_places() -> None:
    text = "The cat, here."
    pieces = WORDS.pieces(text)
    assert [text[piece.start : piece.end] for piece in pieces] == ["The", "cat", ",", "here", "."]
    assert [piece.id for piece in pieces] == WORDS.encode(text)
    assert [piece.text for piece in pieces] == ["▁The", "▁cat", ",", "▁here", "."]
