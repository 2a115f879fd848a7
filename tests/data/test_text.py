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
    read_lines,
    read_pairs,
    read_sentences,
    refuse_if_many,
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


@pytest.mark.parametrize("name", ["x.txt.gz", "x.zip"])
def test_a_packed_file_is_known_by_its_first_bytes(name: str, tmp_path: Path) -> None:
    plain = _write(tmp_path, name, TEXT.encode()).rename(tmp_path / "x.txt")
    assert read_sentences(plain) == ["Ça va ?", "", "Where"]
    with pytest.raises(DataError, match="a file is packed") as caught:
        _read(plain.read_bytes())
    assert "gunzip" in caught.value.hint


def test_a_separator_of_lines_elsewhere_is_a_space_of_a_sentence(tmp_path: Path) -> None:
    path = _write(tmp_path, "x.txt", "a\u2028b\nc\x85d\x0ce\n\u2029\n".encode())
    assert read_sentences(path) == ["a b", "c d e", " "]


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
            with pytest.raises(DataError, match=rf"{name} is damaged"):
                read_pairs([broken, good], tally=Tally())


def test_an_archive_of_several_files_needs_a_name(tmp_path: Path) -> None:
    path = _write(tmp_path, "x.zip", b"a\tb\n")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other", b"c\td\n")
    with pytest.raises(DataError, match="it holds 2 files, not one"):
        read_sentences(path)
    assert read_pairs([path], tally=Tally(), member="other") == [("c", "d")]


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


@pytest.mark.parametrize(
    ("bad", "reason", "excerpt"),
    [
        *((f"t{c}wo".encode(), CONTROL, repr(f"t{c}wo")) for c in "\x00\x0b\x1c\x85\u2028\r"),
        (b"\xe9t\xe9\r", INVALID, repr(r"\xe9t\xe9")),
    ],
)
def test_what_is_no_text_spoils_its_own_line_and_moves_no_other(
    bad: bytes, reason: str, excerpt: str
) -> None:
    lines = _read("été\n".encode() + bad + "\naoût\n".encode())
    assert lines == ["été", Fault(reason, excerpt), "août"]


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


def _pairs_of(folder: Path, *files: bytes) -> tuple[list[tuple[str, str]], Tally]:
    tally = Tally()
    paths = [_write(folder, f"{n}.txt.gz", data) for n, data in enumerate(files)]
    return read_pairs(paths, tally=tally), tally


def test_two_columns_are_read_and_what_is_no_pair_is_counted_by_its_reason(tmp_path: Path) -> None:
    most = "x" * LONGEST
    rows = ["Go.\tVa !\tCC-BY 2.0", " Hi. \t Salut ! ", "no tab", "a\t", " \tb", "", "no tab"]
    rows += [f"{most}\ty", f"{most}x\ty", "a\tnul\x00"]
    pairs, tally = _pairs_of(tmp_path, "\n".join(rows).encode() + b"\nt\xe9\tb\n")
    assert pairs == [("Go.", "Va !"), ("Hi.", "Salut !"), (most, "y")]
    assert tally.read == 11
    assert tally.dropped == {NO_TAB: 3, EMPTY: 2, TOO_LONG: 1, CONTROL: 1, INVALID: 1}
    assert [(fault.number, fault.reason) for fault in tally.examples] == [
        (3, NO_TAB),
        (4, EMPTY),
        (5, EMPTY),
    ]


def test_two_files_go_side_by_side(tmp_path: Path) -> None:
    long = b"x" * (LONGEST + 1)
    first = b"a\n\n\x00\n d\na\tb\n" + long + b"\ne\n"
    pairs, tally = _pairs_of(tmp_path, first, b"w\nx\ny\nz \nc\nd\n\xe9\n")
    assert pairs == [("a", "w"), ("d", "z")]
    assert tally.dropped == {EMPTY: 1, CONTROL: 2, TOO_LONG: 1, INVALID: 1}
    assert [example.number for example in tally.examples] == [2, 3, 5]
    _, tally = _pairs_of(tmp_path, long, b"y\n")
    assert len(str(tally.examples[0])) < 150  # quoted in short


@pytest.mark.parametrize(("first", "second"), [(b"a\nb\n", b"w\n"), (b"a\n", b"w\nx\n")])
def test_two_files_of_different_length_are_an_error(
    first: bytes, second: bytes, tmp_path: Path
) -> None:
    message = r"0\.txt\.gz and .*1\.txt\.gz differ in length: one ends after 1 line"
    with pytest.raises(DataError, match=message):
        _pairs_of(tmp_path, first, second)


@pytest.mark.parametrize(("bad", "good", "refused"), [(4, 0, False), (5, 45, False), (5, 44, True)])
def test_too_many_bad_lines_are_an_error_that_shows_three(
    bad: int, good: int, refused: bool, tmp_path: Path
) -> None:
    _, tally = _pairs_of(tmp_path, b"ok\tok\n" * good + b"bad\n" * bad)
    if not refused:
        refuse_if_many(tally, name="x.tsv")
        return
    with pytest.raises(DataError, match=r"x\.tsv: 5 of 49 lines are not pairs") as caught:
        refuse_if_many(tally, name="x.tsv")
    assert "line 47 (no tab): 'bad'" in caught.value.message
    assert "line 48" not in caught.value.message
