from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from dlcli.data.corpora import pair_hash, read_europarl, read_europarl_dev
from dlcli.data.sentences import Corpus, Pairs
from dlcli.errors import DataError


def _archive(folder: Path, english: Sequence[str], french: Sequence[str], **names: str) -> Path:
    (folder / "europarl").mkdir()
    with tarfile.open(folder / "europarl/fr-en.tgz", "w:gz") as tar:
        for language, lines in (("en", english), ("fr", french)):
            data = "".join(f"{line}\n" for line in lines).encode()
            entry = tarfile.TarInfo(names.get(language, f"europarl-v7.fr-en.{language}"))
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return folder


def _parts(corpus: Corpus) -> list[Pairs]:
    return [corpus.valid, corpus.tests["test"], corpus.train]


def test_the_rule_leaves_out_what_it_says(tmp_path: Path) -> None:
    rows = [(f"the sentence {n}", f"la phrase {n}") for n in range(20)]
    rows += [
        rows[0],  # a duplicate
        ("", "vide"),
        ("word " * 51, "mot " * 51),
        ("word " * 50, "mot " * 50),
        ("one", "un deux trois quatre"),
        ("one", "un deux trois"),
        ("bad\x00", "mauvais"),
    ]
    corpus = read_europarl(_archive(tmp_path, *zip(*rows, strict=True)), held_out=3)
    assert corpus.dropped == {
        "duplicate pair": 1,
        "empty side": 1,
        "more than 50 words": 1,
        "length ratio over 3": 1,
        "control characters": 1,
    }
    assert [len(part) for part in _parts(corpus)] == [3, 3, 16]
    assert (corpus.name, corpus.languages) == ("europarl", ("en", "fr"))


def test_the_smallest_hashes_are_held_out(tmp_path: Path) -> None:
    rows = [(f"the sentence {n}", f"la phrase {n}") for n in range(20)]
    corpus = read_europarl(_archive(tmp_path, *zip(*rows, strict=True)), held_out=2)
    order = sorted(rows, key=lambda row: pair_hash(*row))
    for part, wanted in zip(_parts(corpus), (order[:2], order[2:4], order[4:]), strict=True):
        assert set(zip(part.source, part.target, strict=True)) == set(wanted)
    assert pair_hash("the sentence 0", "la phrase 0") == 2854538949716674772
    assert corpus.valid.source == ("the sentence 2", "the sentence 13")


def test_no_sentence_of_either_language_is_in_two_splits(tmp_path: Path) -> None:
    rows = [(f"the sentence {n % 40}", f"la phrase {n % 50}") for n in range(200)]
    corpus = read_europarl(_archive(tmp_path, *zip(*rows, strict=True)), held_out=15)
    valid, test, train = _parts(corpus)
    for one, other in ((valid, test), (valid, train), (test, train)):
        assert not set(one.source) & set(other.source)
        assert not set(one.target) & set(other.target)
    kept = len(valid) + len(test) + len(train)
    assert corpus.dropped == {"shared with valid or test": 200 - kept}


def test_an_archive_without_a_language_is_an_error(tmp_path: Path) -> None:
    folder = _archive(tmp_path, ["a"], ["b"], fr="other.fr")
    with pytest.raises(DataError, match=r"it has no europarl-v7\.fr-en\.fr"):
        read_europarl(folder)


def test_a_cut_archive_is_an_error(tmp_path: Path) -> None:
    path = _archive(tmp_path, ["a b c"] * 99, ["d e f"] * 99) / "europarl/fr-en.tgz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"fr-en\.tgz cannot be read"):
        read_europarl(tmp_path)


def test_sides_of_different_length_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="differ in length"):
        read_europarl(_archive(tmp_path, ["a", "b"], ["c"]))


@pytest.mark.slow
def test_the_development_cut_is_read(real_data_dir: Path) -> None:
    if not (real_data_dir / "europarl").is_dir():
        pytest.skip(f"no Europarl at {real_data_dir}")
    corpus = read_europarl_dev(real_data_dir)
    assert corpus.name == "europarl-dev500k"
    assert [len(part) for part in _parts(corpus)] == [2_000, 2_000, 500_000]
    assert corpus.dropped == {}
