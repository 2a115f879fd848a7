from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.data import corpora as tatoeba
from dlcli.data.corpora import read_tatoeba
from tests.data.corpus_files import lay_out, zipped


def test_translations_of_one_sentence_stay_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(f"Go {n // 3}!", f"Va {n} !") for n in range(60)]
    text = "".join(f"{a}\t{b}\n" for a, b in rows)
    lay_out(tmp_path, {"tatoeba/fra-eng.zip": zipped(text)})
    monkeypatch.setattr(tatoeba, "TATOEBA_HELD_OUT", 4)
    corpus = read_tatoeba(tmp_path)
    parts = [corpus.train, corpus.valid, corpus.tests["test"]]
    assert [len(set(part.source)) for part in parts] == [12, 4, 4]
    assert [len(part) for part in parts] == [36, 12, 12]
    assert corpus.name == "tatoeba"
