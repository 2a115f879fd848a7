from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from dlcli.data.catalogue import is_path
from dlcli.data.sentences import Corpus, read_text_files
from dlcli.errors import ConfigError, DataError

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
