"""Pairs, corpora in their splits, and words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcli.data.sentences import (
    TEST,
    TRAIN,
    VALID,
    Corpus,
    Pairs,
    count_words,
    sentence_key,
    split_connected,
    split_corpus,
    split_words,
)
from dlcli.errors import ConfigError, DataError

PAIRS = Pairs(source=("a b", "c"), target=("x y z", "w"), links=("0-2 1-0", "0-0"))


def _corpus() -> Corpus:
    plain = Pairs(source=("d",), target=("v",))
    tests = {"test_one": plain, "test_two": PAIRS}
    return Corpus(name="tiny", languages=("en", "fr"), train=PAIRS, valid=plain, tests=tests)


@pytest.mark.parametrize("links", [None, ("0-0",)])
def test_sides_and_links_must_be_of_one_length(links: tuple[str, ...] | None) -> None:
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        Pairs(source=("a", "b"), target=("x", "y") if links else ("x",), links=links)


def test_a_corpus_swaps_sides_and_links_of_every_split_and_back() -> None:
    swapped = _corpus().swapped()
    assert swapped.languages == ("fr", "en")
    for pairs in (swapped.train, swapped.tests["test_two"]):
        turned = ("0-1 2-0", "0-0")
        assert pairs == Pairs(source=PAIRS.target, target=PAIRS.source, links=turned)
    assert swapped.valid.source == ("v",)
    assert swapped.swapped() == _corpus()


def test_first_keeps_sides_and_links_together() -> None:
    first = Pairs(source=("a b",), target=("x y z",), links=("0-2 1-0",))
    assert (PAIRS.first(1), PAIRS.first(9)) == (first, PAIRS)


def test_splits_by_name() -> None:
    corpus = _corpus()
    assert corpus.split("train") is corpus.train
    assert corpus.split("test") is corpus.split("test_one")
    assert corpus.split("test_two") is PAIRS
    with pytest.raises(ConfigError, match="no split 'tset'") as caught:
        corpus.split("tset")
    assert "test_two" in caught.value.hint


@pytest.mark.parametrize(
    ("one", "other"), [("Run!", "run."), ("C'est ça ?", "c’est ça"), ("  A  b ", "a, b")]
)
def test_case_and_punctuation_make_no_other_sentence(one: str, other: str) -> None:
    assert sentence_key(one) == sentence_key(other)


def test_sentences_without_words_are_their_own_key() -> None:
    assert sentence_key("?!") == "?!"


def test_the_split_of_a_list_is_known() -> None:
    source = [f"sentence {n}" for n in range(12)]
    target = [f"phrase {n}" for n in range(12)]
    assert split_connected(source, target, held_out=2) == {
        TRAIN: [0, 1, 4, 5, 6, 7, 10, 11],
        VALID: [2, 8],
        TEST: [3, 9],
    }


def test_the_order_of_the_lines_does_not_matter() -> None:
    pairs = [(f"s {n}", f"t {n % 17}") for n in range(60)]
    turned = pairs[::-1]
    for split in (VALID, TEST):
        one = split_connected(*zip(*pairs, strict=True), held_out=8)[split]
        other = split_connected(*zip(*turned, strict=True), held_out=8)[split]
        assert {pairs[place] for place in one} == {turned[place] for place in other}


WORDS = st.sampled_from([f"w{n}" for n in range(25)])


@given(st.lists(st.tuples(WORDS, WORDS), max_size=40), st.integers(1, 5))
def test_no_sentence_of_either_language_is_in_two_splits(
    pairs: list[tuple[str, str]], held_out: int
) -> None:
    dealt = split_connected([a for a, _ in pairs], [b for _, b in pairs], held_out=held_out)
    assert sorted(place for places in dealt.values() for place in places) == [*range(len(pairs))]
    for side in (0, 1):
        seen = [{pairs[place][side] for place in places} for places in dealt.values()]
        assert sum(map(len, seen)) == len(set().union(*seen))


def test_connections_reach_through_other_pairs() -> None:
    pairs = [("a", "x"), ("b", "x"), ("b", "y"), ("c", "y"), ("d", "z"), ("e", "w")]
    dealt = split_connected(*zip(*pairs, strict=True), held_out=1)
    assert dealt[TRAIN] == [0, 1, 2, 3]
    assert sorted(dealt[VALID] + dealt[TEST]) == [4, 5]


def test_three_pairs_are_one_for_each_split() -> None:
    corpus = split_corpus([("a", "x"), ("b", "y"), ("c", "z")], name="tiny", held_out=1, dropped={})
    assert [len(corpus.train), len(corpus.valid), len(corpus.tests["test"])] == [1, 1, 1]


@pytest.mark.parametrize(
    "pairs", [[], [("a", "x")], [("a", "x"), ("b", "y")], [("a", "x"), ("b", "x"), ("c", "x")]]
)
def test_what_cannot_be_split_is_an_error(pairs: list[tuple[str, str]]) -> None:
    message = rf"tiny has {len(pairs)} pairs? of sentences, too few"
    with pytest.raises(DataError, match=message) as caught:
        split_corpus(pairs, name="tiny", held_out=1, dropped={})
    assert "Three pairs" in caught.value.hint


@pytest.mark.parametrize(
    ("pairs", "dropped", "message"),
    [
        ([("a", "x")] * 300, {}, r"300 pairs of sentences \(1 without repetitions\), too few"),
        ([("a", "x"), ("A!", "x")], {}, r"2 pairs of sentences \(1 without repetitions\)"),
        ([], {"invalid UTF-8": 1}, "0 pairs .*lines left out: 1 invalid UTF-8"),
    ],
)
def test_what_cannot_be_split_says_what_was_repeated_or_left_out(
    pairs: list[tuple[str, str]], dropped: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        split_corpus(pairs, name="tiny", held_out=1, dropped=dropped)
    assert "in UTF-8" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Signed in August 1992.", "Signed|in|August|1992|."),
        ("L'accord a été signé.", "L'|accord|a|été|signé|."),
        ("J’ai dit qu’il l'a vu jusqu'ici.", "J’|ai|dit|qu’|il|l'|a|vu|jusqu'|ici|."),
        ("C'est-à-dire", "C'|est-à-dire"),
        ("aujourd'hui quelqu'un don't va-t'en", "aujourd'hui|quelqu'un|don't|va-t'en"),
        ("the parents' house, isn't it?", "the|parents|'|house|,|isn't|it|?"),
        ("l' accord de l'«Europe»", "l'|accord|de|l'|«|Europe|»"),
        ("The agreement ...", "The|agreement|..."),
        ("The agreement... what?!", "The|agreement|...|what|?|!"),
        ("2.8c, 1,000 at 10:30, 7%.", "2.8c|,|1,000|at|10:30|,|7|%|."),
        ("the U.S. and e.g. Mr. X", "the|U.S.|and|e.g.|Mr|.|X"),
        ("peut-être - and/or", "peut-être|-|and|/|or"),
        ("snake_case _", "snake|_|case|_"),
        ("हिन्दी e\u0301te\u0301", "हिन्दी|e\u0301te\u0301"),
        ("👨\u200d👩\u200d👧👍🏽🇫🇷", "👨\u200d👩\u200d👧|👍🏽|🇫🇷"),
        ("שלום עולם!", "שלום|עולם|!"),
        ("a\u00a0b\u200b \tc\n", "a|b|c"),
        ("", ""),
    ],
)
def test_words_of(text: str, words: str) -> None:
    assert [word.text for word in split_words(text)] == [w for w in words.split("|") if w]


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("en", "C'est la vie, d'Artagnan", "C'|est|la|vie|,|d'|Artagnan"),
        ("de", "Wie geht's? d'accord", "Wie|geht's|?|d'accord"),
        ("it", "L'acqua dell'Arno", "L'|acqua|dell'|Arno"),
        ("uk", "м'яч і п’ять", "м'яч|і|п’ять"),
        ("zh", "我们2024年去U.S.吧。", "我|们|2024|年|去|U.S.|吧|。"),
        ("ja", "猫が「ニャー」と鳴く", "猫|が|「|ニ|ャ|ー|」|と|鳴|く"),
        ("th", "ฉันรักแมว 3.5", "ฉั|น|รั|ก|แ|ม|ว|3.5"),
        ("ko", "고양이를 좋아해요.", "고양이를|좋아해요|."),
        ("hi", "नमस्ते दुनिया।", "नमस्ते|दुनिया|।"),
        ("he", "שלום, עולם", "שלום|,|עולם"),
        ("ar", "السلام عليكم؟", "السلام|عليكم|؟"),
        ("qaa", "kana 12.", "k|a|n|a|12|."),
    ],
)
def test_words_of_other_languages(language: str, text: str, words: str) -> None:
    assert [word.text for word in split_words(text, language)] == words.split("|")


@pytest.mark.parametrize(
    ("language", "text", "count"),
    [
        ("en", "The cat, 2 dogs - and U.S. too", 8),
        ("zh", "我们去 U.S. 吧。", 5),
        ("th", "ฉันรัก แมว", 7),
        ("qaa", "kana", 4),
        ("", "", 0),
        ("ja", "。 …", 2),
    ],
)
def test_words_are_counted_between_spaces_or_by_letters(
    language: str, text: str, count: int
) -> None:
    assert count_words(text, language) == count


@pytest.mark.parametrize(("one", "other"), [("कि", "का"), ("ฉัน รัก", "ฉิน รัก"), ("नमस्ते!", "नमस्तो!")])
def test_signs_on_letters_make_another_sentence(one: str, other: str) -> None:
    assert sentence_key(one) != sentence_key(other)


@given(st.text(), st.sampled_from(["", "fr", "de", "ja", "qaa"]))
def test_nothing_is_lost_but_space(text: str, language: str) -> None:
    words = split_words(text, language)
    assert all(text[word.start : word.end] == word.text for word in words)
    places = [0, *(place for word in words for place in (word.start, word.end)), len(text)]
    assert places == sorted(places)
    between = "".join(text[a:b] for a, b in zip(places[::2], places[1::2], strict=True))
    assert all(c.isspace() or c in "\u200b\ufeff" for c in between)
    assert all(word.text and not any(map(str.isspace, word.text)) for word in words)
