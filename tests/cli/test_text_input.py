"""Lines from anywhere: what ends them, what they may hold, and that they come as they are there."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from dlcli.cli.nmt import CHUNK, decoded, line_groups
from dlcli.errors import DataError, UsageFault


def lines(content: bytes) -> list[str]:
    return [line for group in decoded(io.BytesIO(content), name="it") for line in group]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
        (b"\n\na\n\n", ["", "", "a", ""]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b"a\x00b\n", ["a\x00b"]),
        ("שלום\u2028🙂\x85\n".encode(), ["שלום\u2028🙂\x85"]),
        (b"a\rb\n", ["a\rb"]),
    ],
)
def test_lines_end_at_line_ends_only(content: bytes, wanted: list[str]) -> None:
    assert lines(content) == wanted


def test_a_line_may_be_longer_than_what_is_read_at_once() -> None:
    long = "é" * CHUNK
    assert lines(f"{long}\nb\n{long}".encode()) == [long, "b", long]


def test_lines_before_a_faulty_one_are_given() -> None:
    groups = decoded(io.BytesIO(b"a\nb\n\xe9t\xe9\nc\n"), name="x.txt")
    assert next(groups) == ["a", "b"]
    with pytest.raises(DataError, match=r"Line 3 of x\.txt is not UTF-8: byte 1 is 0xe9"):
        next(groups)


def test_utf_16_is_recognised() -> None:
    with pytest.raises(DataError, match="UTF-16"):
        lines("a\n".encode("utf-16"))


def test_a_pipe_gives_what_it_has_before_its_end() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream:
        groups = decoded(stream, name="a pipe")
        os.write(writer, b"a\nb\nbeg")
        assert next(groups) == ["a", "b"]
        os.write(writer, b"un\n")
        assert next(groups) == ["begun"]
        os.close(writer)
        assert list(groups) == []


def test_text_and_files_are_the_same_to_it(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\n\nb\n")
    assert list(line_groups(None, file)) == list(line_groups("a\n\nb", None)) == [["a", "", "b"]]
    assert list(line_groups("", None)) == [[""]]
    with pytest.raises(UsageFault, match="two inputs"):
        list(line_groups("a", file))


def test_a_closed_standard_input_has_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert list(line_groups(None, None)) == []
