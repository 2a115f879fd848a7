from __future__ import annotations

from pathlib import Path

from dlcli.data.corpora import read_multi30k
from tests.data.corpus_files import ROWS, corpus_files, lay_out


def test_captions_keep_their_case_and_their_splits(tmp_path: Path) -> None:
    lay_out(tmp_path, corpus_files("multi30k"))
    corpus = read_multi30k(tmp_path)
    assert list(corpus.tests) == ["test_2016_flickr", "test_2017_flickr"]
    for name, part in {"train": corpus.train, "val": corpus.valid, **corpus.tests}.items():
        assert part.source == tuple(f"{name} {english}" for english, _ in ROWS[:3])
        assert part.target == tuple(f"{name} {french}" for _, french in ROWS[:3])
