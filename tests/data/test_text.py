"""Text files: whatever is in them, a line is a sentence or is named as none."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from pathlib import Path

import pytest

from dlcli.data import text as text_files
from dlcli.data.text import (
    CONTROL,
    EMPTY,
    INVALID,
    LONGEST,
    NO_TAB,
    STDIN,
    TOO_LONG,
    Fault,
    Tally,
    columns,
    pair_of,
    read_lines,
    read_pairs,
    read_sentences,
    refuse_if_many,
    side_by_side,
)
from dlcli.errors import DataError

TEXT = "Ça va ?\n\nWhere\n"


def _write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.mkdir("folder")
            archive.writestr("folder/text", data)
    else:
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz", "x.zip"])
def test_a_file_is_read_however_it_is_packed(name: str, tmp_path: Path) -> None:
    assert read_sentences(_write(tmp_path, name, TEXT.encode())) == ["Ça va ?", "", "Where"]


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert read_sentences(STDIN) == ["Ça va ?", "", "Where"]


@pytest.mark.parametrize(
    ("data", "reason"), [(b"one\nt\xe9\n", INVALID), (b"fine\nnul \x00 byte\n", CONTROL)]
)
def test_a_line_that_is_no_text_is_named_with_its_file(
    data: bytes, reason: str, tmp_path: Path
) -> None:
    path = _write(tmp_path, "x.txt.gz", data)
    message = rf"Line 2 of .*x\.txt\.gz cannot be read: {reason}"
    with pytest.raises(DataError, match=message) as caught:
        read_sentences(path)
    assert "shift" in caught.value.hint


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt cannot be read: No such file") as caught:
        read_sentences(tmp_path / "a.en,none.txt")
    assert "two files have a flag each" in caught.value.hint
    with pytest.raises(DataError, match="cannot be read"):
        read_sentences(tmp_path)
    good = _write(tmp_path, "good.en", b"a\n" * 99)
    for name in ("broken.gz", "broken.zip"):
        broken = _write(tmp_path, name, b"b\n" * 99)
        for damage in (broken.read_bytes()[:-9], b"not packed"):
            broken.write_bytes(damage)
            with pytest.raises(DataError, match=rf"{name} cannot be read"):
                read_pairs([broken, good], tally=Tally())


def test_an_archive_of_several_files_needs_a_name(tmp_path: Path) -> None:
    path = _write(tmp_path, "x.zip", b"a\tb\n")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other", b"c\td\n")
    with pytest.raises(DataError, match="it holds 2 files, not one"):
        read_sentences(path)
    assert read_pairs([path], tally=Tally(), member="other") == [("c", "d")]


def test_two_files_are_read_line_by_line(tmp_path: Path) -> None:
    paths = [_write(tmp_path, "x.en.gz", b"a\n\nc\n"), _write(tmp_path, "x.fr", b"x\ny\nz\n")]
    tally = Tally()
    assert read_pairs(paths, tally=tally) == [("a", "x"), ("c", "z")]
    assert dict(tally.dropped) == {EMPTY: 1}
    paths[0].write_bytes(gzip.compress(b"a\n"))
    with pytest.raises(DataError, match=r"x\.en\.gz and .*x\.fr differ in length"):
        read_pairs(paths, tally=Tally())


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
    monkeypatch.setattr(text_files, "_BLOCK", block)
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
    fault = pair_of("x" * (LONGEST + 1), "y")
    assert isinstance(fault, Fault)
    assert fault.reason == TOO_LONG
    assert len(str(fault)) < 150
    assert pair_of("x" * LONGEST, "y") == ("x" * LONGEST, "y")
    assert pair_of("a\tb", "c") == Fault(CONTROL, repr("a\tb | c"))


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
