""""""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcli.data import sentences as lines
from dlcli.data.catalogue import is_path
from dlcli.data.sentences import (
    CONTROL,
    EMPTY,
    INVALID,
    LONGEST,
    NO_TAB,
    TEST,
    TOO_LONG,
    TRAIN,
    VALID,
    Corpus,
    Fault,
    Pairs,
    Tally,
    columns,
    read_lines,
    read_text_files,
    refuse_if_many,
    sentence_key,
    side_by_side,
    side_fault,
    split_connected,
    split_corpus,
    split_words,
    stable_hash,
)
from dlcli.errors import ConfigError, DataError


def _read(data: bytes) -> list[str | Fault]:
    return list(read_lines(io.BytesIO(data), name="a file"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\r\nb", ["a", "b"]),
        (b"\xef\xbb\xbfa\tb\n", ["a\tb"]),
        (b"\xef\xbb\xbf", []),
        (b"a\n\n\nb", ["a", "", "", "b"]),
        ("e\u0301te\u0301\n".encode(), ["été"]),
        ("a\u00a0b \u202f!\n".encode(), ["a\u00a0b \u202f!"]),
    ],
)
def test_lines_of_a_file(data: bytes, expected: list[str]) -> None:
    assert _read(data) == expected


@pytest.mark.parametrize("bad", ["\x00", "\x0b", "\x1c", "\x85", "\u2028", "a\rb"])
def test_control_characters_spoil_their_own_line_and_move_no_other(bad: str) -> None:
    first, middle, last = _read(f"one\nt{bad}wo\nthree\n".encode())
    assert (first, last) == ("one", "three")
    assert isinstance(middle, Fault)
    assert middle.reason == CONTROL
    assert bad not in middle.excerpt


def test_invalid_utf_8_spoils_its_own_line_only() -> None:
    first, middle, last = _read("été\n".encode() + b"\xe9t\xe9\r\n" + "août".encode())
    assert (first, last) == ("été", "août")
    assert isinstance(middle, Fault)
    assert (middle.reason, middle.excerpt) == (INVALID, repr(r"\xe9t\xe9"))


def test_utf_16_is_named() -> None:
    with pytest.raises(DataError, match="a file is UTF-16"):
        _read("a\tb\n".encode("utf-16"))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "end"])
def test_where_blocks_end_changes_nothing(
    block: int, end: str, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = end.join(["Ça va ?", "", "où", "x" * 20, "é", last])
    whole = _read(text.encode())
    monkeypatch.setattr(lines, "_BLOCK", block)
    assert _read(text.encode()) == whole == text.removesuffix(end).split(end)


def _columns(*rows: str | Fault) -> tuple[list[tuple[str, str]], Tally]:
    tally = Tally()
    return list(columns(rows, tally=tally)), tally


def test_two_columns_are_read_and_more_are_not_looked_at() -> None:
    pairs, tally = _columns("Go.\tVa !\tCC-BY 2.0", " Hi. \t Salut ! ")
    assert pairs == [("Go.", "Va !"), ("Hi.", "Salut !")]
    assert (tally.read, tally.dropped) == (2, {})


def test_what_is_no_pair_is_counted_by_its_reason() -> None:
    long = "x" * 100_000
    rows = ["ok\tok", "no tab", "a\t", " \tb", "", f"{long}\ta", Fault(INVALID, "?"), "no tab"]
    pairs, tally = _columns(*rows)
    assert pairs == [("ok", "ok")]
    assert tally.read == len(rows)
    assert dict(tally.dropped) == {NO_TAB: 3, EMPTY: 2, TOO_LONG: 1, INVALID: 1}
    assert [(fault.number, fault.reason) for fault in tally.examples] == [
        (2, NO_TAB),
        (3, EMPTY),
        (4, EMPTY),
    ]


def test_a_long_line_is_quoted_in_short() -> None:
    fault = side_fault("x" * (LONGEST + 1), "y")
    assert fault is not None
    assert fault.reason == TOO_LONG
    assert len(str(fault)) < 150
    assert side_fault("x" * LONGEST, "y") is None


def test_two_files_go_side_by_side() -> None:
    tally = Tally()
    fault = Fault(CONTROL, "?")
    got = side_by_side(["a", "", fault, " d"], ["w", "x", "y", "z "], tally=tally, names="a,b")
    assert list(got) == [("a", "w"), ("d", "z")]
    assert dict(tally.dropped) == {EMPTY: 1, CONTROL: 1}
    assert [example.number for example in tally.examples] == [2, 3]


@pytest.mark.parametrize(("first", "second"), [(["a", "b"], ["w"]), (["a"], ["w", "x"])])
def test_two_files_of_different_length_are_an_error(first: list[str], second: list[str]) -> None:
    with pytest.raises(DataError, match="a,b differ in length: one ends after 1 lines"):
        list(side_by_side(first, second, tally=Tally(), names="a,b"))


@pytest.mark.parametrize(("bad", "good", "refused"), [(4, 0, False), (5, 45, False), (5, 44, True)])
def test_too_many_bad_lines_are_an_error_that_shows_three(
    bad: int, good: int, refused: bool
) -> None:
    _, tally = _columns(*["ok\tok"] * good, *["bad"] * bad)
    if not refused:
        refuse_if_many(tally, name="x.tsv")
        return
    with pytest.raises(DataError, match=r"x\.tsv: 5 of 49 lines are not pairs") as caught:
        refuse_if_many(tally, name="x.tsv")
    assert [f"line {n} (no tab): 'bad'" in caught.value.message for n in range(45, 50)] == [
        True,
        True,
        True,
        False,
        False,
    ]


PAIRS = Pairs(source=("a b", "c"), target=("x y z", "w"), links=("0-2 1-0", "0-0"))


def _corpus() -> Corpus:
    plain = Pairs(source=("d",), target=("v",))
    tests = {"test_one": plain, "test_two": PAIRS}
    return Corpus(name="tiny", languages=("en", "fr"), train=PAIRS, valid=plain, tests=tests)


def test_sides_must_be_of_one_length() -> None:
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        Pairs(source=("a", "b"), target=("x",))
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        Pairs(source=("a", "b"), target=("x", "y"), links=("0-0",))


def test_swapping_turns_sides_and_links_and_back() -> None:
    swapped = PAIRS.swapped()
    assert (swapped.source, swapped.target) == (PAIRS.target, PAIRS.source)
    assert swapped.links == ("0-1 2-0", "0-0")
    assert swapped.swapped().links == ("0-2 1-0", "0-0")


def test_first_keeps_sides_and_links_together() -> None:
    first = PAIRS.first(1)
    assert (len(first), first.source, first.target, first.links) == (
        1,
        ("a b",),
        ("x y z",),
        ("0-2 1-0",),
    )
    assert len(PAIRS.first(9)) == 2


def test_a_corpus_swaps_every_split() -> None:
    swapped = _corpus().swapped()
    assert swapped.languages == ("fr", "en")
    assert swapped.train.source == PAIRS.target
    assert swapped.valid.source == ("v",)
    assert swapped.tests["test_two"].source == PAIRS.target


def test_splits_by_name() -> None:
    corpus = _corpus()
    assert corpus.split("train") is corpus.train
    assert corpus.split("test") is corpus.split("test_one")
    assert corpus.split("test_two") is PAIRS
    with pytest.raises(ConfigError, match="no split 'tset'") as caught:
        corpus.split("tset")
    assert "test_two" in caught.value.hint


def test_the_hash_is_the_same_everywhere() -> None:
    assert stable_hash("go") == 11176960828788041012


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
    corpus = split_corpus(
        [("a", "x"), ("b", "y"), ("c", "z")], name="tiny", held_out=1, tally=Tally()
    )
    assert [len(corpus.train), len(corpus.valid), len(corpus.tests["test"])] == [1, 1, 1]


@pytest.mark.parametrize(
    "pairs", [[], [("a", "x")], [("a", "x"), ("b", "y")], [("a", "x"), ("b", "x"), ("c", "x")]]
)
def test_what_cannot_be_split_is_an_error(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(DataError, match=rf"tiny has {len(pairs)} pairs? of sentences, too few"):
        split_corpus(pairs, name="tiny", held_out=1, tally=Tally())


ROWS = [(f"sentence {n}", f"phrase {n}") for n in range(40)]


def _tsv(rows: list[tuple[str, str]], end: str = "\n") -> bytes:
    return "".join(f"{a}\t{b}{end}" for a, b in rows).encode()


def _load(name: Path | str) -> tuple[Corpus, list[str]]:
    said: list[str] = []
    return read_text_files(str(name), notice=said.append), said


def _pairs(corpus: Corpus) -> set[tuple[str, str]]:
    parts = [corpus.train, corpus.valid, *corpus.tests.values()]
    return {pair for part in parts for pair in zip(part.source, part.target, strict=True)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pairs.tsv", True),
        ("a.en,b.fr", True),
        ("pairs.txt.gz", True),
        ("./pairs", True),
        ("x.tsv#1f2e3d4c", True),
        ("tatoeba", False),
        ("europarl-dev500k", False),
        ("glyphs:50", False),
    ],
)
def test_a_path_is_told_from_a_name(name: str, expected: bool) -> None:
    assert is_path(name) == expected


@pytest.mark.parametrize(
    "data",
    [
        _tsv(ROWS),
        _tsv(ROWS, "\r\n"),
        b"\xef\xbb\xbf" + _tsv(ROWS),
        _tsv(ROWS).rstrip(b"\n"),
        _tsv([(a, f"{b}\tCC-BY") for a, b in ROWS]),
    ],
    ids=["unix", "windows", "byte order mark", "no last line end", "third column"],
)
def test_a_tsv_is_read_and_split(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(data)
    corpus, said = _load(tmp_path / "x.tsv")
    assert _pairs(corpus) == set(ROWS)
    assert [len(corpus.train), len(corpus.valid), len(corpus.tests["test"])] == [32, 4, 4]
    assert corpus.valid.source[0] == "sentence 8"  # the same hash on every machine
    assert said == []


def test_two_files_and_their_packed_forms_give_the_same(tmp_path: Path) -> None:
    for column, language in enumerate(("en", "fr")):
        text = "".join(f"{row[column]}\n" for row in ROWS).encode()
        (tmp_path / f"a.{language}").write_bytes(text)
        (tmp_path / f"b.{language}.gz").write_bytes(gzip.compress(text))
    plain, _ = _load(f"{tmp_path}/a.en,{tmp_path}/a.fr")
    packed, _ = _load(f"{tmp_path}/b.en.gz,{tmp_path}/b.fr.gz")
    turned, _ = _load(f"{tmp_path}/a.fr,{tmp_path}/a.en")
    assert plain.languages == packed.languages == turned.languages == ("en", "fr")
    assert plain.train == packed.train == turned.train
    assert plain.name == turned.name != packed.name


def test_suffixes_name_other_languages(tmp_path: Path) -> None:
    (tmp_path / "a.de").write_text("".join(f"Satz {n}\n" for n in range(5)))
    (tmp_path / "a.en").write_text("".join(f"sentence {n}\n" for n in range(5)))
    corpus, _ = _load(f"{tmp_path}/a.de,{tmp_path}/a.en")
    assert corpus.languages == ("de", "en")
    assert corpus.train.source[0].startswith("Satz")


def test_the_name_tells_a_changed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(_tsv(ROWS))
    monkeypatch.chdir(tmp_path)
    corpus, _ = _load("x.tsv")
    assert corpus.name.startswith(f"{path}#")
    assert _load(corpus.name)[0] == corpus
    path.write_bytes(_tsv(ROWS[1:]))
    with pytest.raises(DataError, match=r"x\.tsv has changed"):
        _load(corpus.name)


def test_bad_lines_are_counted_and_said(tmp_path: Path) -> None:
    bad = [b"no tab\n", b"a\xff\tb\n", b"a\x00\tb\n", b"x" * 100_000 + b"\ty\n"]
    (tmp_path / "x.tsv").write_bytes(b"".join(bad) + _tsv(ROWS))
    corpus, said = _load(tmp_path / "x.tsv")
    assert _pairs(corpus) == set(ROWS)
    assert corpus.dropped == {
        "no tab": 1,
        "invalid UTF-8": 1,
        "control characters": 1,
        "too long": 1,
    }
    (sentence,) = said
    assert "4 of 44 lines left out: line 1 (no tab): 'no tab'; line 2 (invalid UTF-8)" in sentence


def test_too_many_bad_lines_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(_tsv(ROWS) + b"no tab\n" * 5)
    with pytest.raises(DataError, match=r"5 of 45 lines .*line 41 \(no tab\)"):
        _load(tmp_path / "x.tsv")


@pytest.mark.parametrize("data", [b"", b"one\tun\n", b"one\tun\ntwo\tdeux\n"])
def test_what_is_too_small_to_split_is_a_clear_error(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(data)
    with pytest.raises(DataError, match="too few or too much alike") as caught:
        _load(tmp_path / "x.tsv")
    assert "Three pairs" in caught.value.hint


def test_sides_of_different_length_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\ntwo\n")
    (tmp_path / "a.fr").write_text("un\n")
    with pytest.raises(DataError, match="differ in length: one ends after 1 lines"):
        _load(f"{tmp_path}/a.en,{tmp_path}/a.fr")


def test_files_that_are_not_there_or_no_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.tsv does not exist"):
        _load(tmp_path / "none.tsv")
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(DataError, match="is not a regular file"):
        _load(tmp_path / "folder.tsv")
    os.mkfifo(tmp_path / "pipe.tsv")
    with pytest.raises(DataError, match="is not a regular file"):
        _load(tmp_path / "pipe.tsv")
    (tmp_path / "broken.tsv.gz").write_bytes(gzip.compress(_tsv(ROWS))[:50])
    with pytest.raises(DataError, match=r"broken\.tsv\.gz cannot be read"):
        _load(tmp_path / "broken.tsv.gz")


@pytest.mark.parametrize("name", ["a,b,c", "a,", ",b"])
def test_other_numbers_of_files_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"names [23] files"):
        _load(name)


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


@given(st.text())
def test_nothing_is_lost_but_space(text: str) -> None:
    words = split_words(text)
    assert all(text[word.start : word.end] == word.text for word in words)
    places = [0, *(place for word in words for place in (word.start, word.end)), len(text)]
    assert places == sorted(places)
    between = "".join(text[a:b] for a, b in zip(places[::2], places[1::2], strict=True))
    assert all(c.isspace() or c in "\u200b\ufeff" for c in between)
    assert all(word.text and not any(map(str.isspace, word.text)) for word in words)
