from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError
from dlcli.nmt.tokenizer import Subwords, Tokenizer, Words, load_tokenizer


def test_both_kinds_are_found_in_a_run_folder(tmp_path: Path) -> None:
    kinds: list[Tokenizer] = [Subwords.learn(["a b"], size=266), Words.learn(["a"], ["b"], size=2)]
    for kind in kinds:
        folder = tmp_path / type(kind).__name__
        folder.mkdir()
        kind.save(folder)
        assert type(load_tokenizer(RunFolder(folder))) is type(kind)


def test_a_run_without_vocabulary_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="lost its vocabulary") as caught:
        load_tokenizer(RunFolder(tmp_path))
    assert "tokenizer.model" in caught.value.hint
