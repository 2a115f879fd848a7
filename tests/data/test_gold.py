from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.data.gold import read_bitext, read_links
from dlcli.errors import DataError


def _write(folder: Path, data: bytes) -> Path:
    (folder / "f").write_bytes(data)
    return folder / "f"


def test_bitext_is_read_whatever_its_line_ends(tmp_path: Path) -> None:
    path = _write(tmp_path, "\ufeffa b  ||| x y\r\nc|||z".encode())
    pairs = read_bitext(path)
    assert (pairs.source, pairs.target) == (("a b", "c"), ("x y", "z"))


@pytest.mark.parametrize("bad", [b"a b", b"a ||| b ||| c", b"||| b", b"a |||", b"", b"a ||| \xff"])
def test_a_bad_line_of_bitext_is_named(bad: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="f, line 2"):
        read_bitext(_write(tmp_path, b"a ||| b\n" + bad + b"\nc ||| d\n"))


def test_links_are_parsed_line_by_line(tmp_path: Path) -> None:
    path = _write(tmp_path, b"1-1 2p2\n\n3-3\n")
    assert read_links(path, parse=str.split) == (["1-1", "2p2"], [], ["3-3"])


def test_a_bad_line_of_links_is_named(tmp_path: Path) -> None:
    def parse(line: str) -> int:
        if not line.isdecimal():
            raise DataError(f"'{line}' is no link.", hint="Write links.")
        return int(line)

    with pytest.raises(DataError, match=r"f, line 3: 'x' is no link\.") as caught:
        read_links(_write(tmp_path, b"1\n2\nx\n"), parse=parse)
    assert caught.value.hint == "Write links."


def test_files_that_are_empty_or_not_there_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        read_bitext(_write(tmp_path, b""))
    with pytest.raises(DataError, match="none cannot be read: No such file"):
        read_links(tmp_path / "none", parse=str)


def test_the_hansards_are_read(real_data_dir: Path) -> None:
    folder = real_data_dir / "alignment"
    if not folder.is_dir():
        pytest.skip(f"no alignments at {folder}")
    pairs = read_bitext(folder / "hansards_dev100.src-tgt")
    links = read_links(folder / "hansards_dev100.gold", parse=str.split)
    assert len(pairs) == len(links) == 100
    assert pairs.source[0].startswith("similarly , under the last Liberal Budget")
    assert "14-17" in links[0]
