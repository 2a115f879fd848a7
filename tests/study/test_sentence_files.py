"""Files of lines that belong together: none is lost, and what is wrong is named by its line."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from dlcli.errors import DataError, UsageFault
from dlcli.nmt.evaluation import STDIN, read_joined, read_sentences, read_two, require_lines


def written(folder: Path, data: bytes, name: str = "file") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"one\n\ntwo", ["one", "", "two"]),
        (b"\xef\xbb\xbfone\r\ntwo\r\n", ["one", "two"]),
        ("e\u0301t\u00e9\n".encode(), ["été"]),
        (b"\n", [""]),
    ],
)
def test_every_line_is_kept(tmp_path: Path, data: bytes, lines: list[str]) -> None:
    assert read_sentences(written(tmp_path, data)) == lines


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a ||| b\n")))
    assert read_joined(STDIN) == [("a", "b")]


@pytest.mark.parametrize("data", [b"fine\nbad \xff\n", b"fine\nnul \x00 byte\n"])
def test_a_line_that_is_no_text_is_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match="Line 2 of") as caught:
        read_sentences(written(tmp_path, data))
    assert "shift" in caught.value.hint


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere cannot be read: No such file"):
        read_sentences(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cannot be read"):
        read_sentences(tmp_path)


def test_two_files_go_line_by_line(tmp_path: Path) -> None:
    first, second = written(tmp_path, b"a\nb\n", "en"), written(tmp_path, b"c\n\n", "fr")
    assert read_two(first, second) == [("a", "c"), ("b", "")]
    with pytest.raises(DataError, match=r"en has 2 lines and .*one has 1"):
        read_two(first, written(tmp_path, b"c", "one"))


def test_joined_lines_have_two_sides(tmp_path: Path) -> None:
    assert read_joined(written(tmp_path, b"a b ||| c  \n|||\n")) == [("a b", "c"), ("", "")]
    for wrong in (b"a b c\n", b"a ||| b ||| c\n"):
        with pytest.raises(DataError, match="Line 1 of"):
            read_joined(written(tmp_path, wrong))


def test_something_must_be_there() -> None:
    require_lines(1, name="a.txt")
    with pytest.raises(UsageFault, match=r"a\.txt has no lines"):
        require_lines(0, name="a.txt")
