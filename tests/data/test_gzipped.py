from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dlcli.data.corpora import read_gzipped
from dlcli.data.sentences import Tally
from dlcli.errors import DataError


def _write(folder: Path, english: bytes, french: bytes) -> Path:
    (folder / "x.en.gz").write_bytes(english)
    (folder / "x.fr.gz").write_bytes(french)
    return folder / "x"


def test_two_files_are_one_split(tmp_path: Path) -> None:
    stem = _write(tmp_path, gzip.compress(b"a\n\nc\n"), gzip.compress(b"x\ny\nz\n"))
    tally = Tally()
    pairs = read_gzipped(stem, tally=tally)
    assert (pairs.source, pairs.target) == (("a", "c"), ("x", "z"))
    assert dict(tally.dropped) == {"empty side": 1}


@pytest.mark.parametrize("french", [b"not packed", gzip.compress(b"x\n" * 99)[:-9]])
def test_what_cannot_be_unpacked_is_named(french: bytes, tmp_path: Path) -> None:
    stem = _write(tmp_path, gzip.compress(b"a\n" * 99), french)
    with pytest.raises(DataError, match=r"x\.\{en,fr\}\.gz cannot be read"):
        read_gzipped(stem, tally=Tally())


def test_files_of_different_length_are_an_error(tmp_path: Path) -> None:
    stem = _write(tmp_path, gzip.compress(b"a\nb\n"), gzip.compress(b"x\n"))
    with pytest.raises(DataError, match="differ in length"):
        read_gzipped(stem, tally=Tally())
