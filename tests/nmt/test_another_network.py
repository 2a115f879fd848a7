"""A network that the program does not know is trained, searched, and looked into like its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlcli.engine.runs import RunFolder
from dlcli.nmt.aligner import forced_attention
from dlcli.nmt.config import NmtModelConfig, SearchConfig
from dlcli.nmt.fast.paths import fast_paths
from dlcli.nmt.trained import load_trained
from dlcli.nmt.translator import Translator
from tests.nmt.self_attention import SelfAttention
from tests.nmt.toy import make_config, run_training, toy_file


def build(config: NmtModelConfig, *, vocabulary: int) -> SelfAttention:
    del config
    return SelfAttention(vocabulary=vocabulary, size=16)


@pytest.mark.parametrize("forcing", [1.0, 0.5])
def test_it_is_carried_through_the_whole_chapter(
    forcing: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcli.nmt.trained.build_model", build)
    config = make_config(
        data={"name": toy_file(tmp_path, count=200)},
        objective={"teacher_forcing": forcing},
        loop={"epochs": 6},
    )
    result, _ = run_training(config, out=tmp_path / "run")
    assert result is not None
    assert result.valid is not None
    assert result.valid.nll_per_token < 5
    trained = load_trained(RunFolder(tmp_path / "run"))
    assert isinstance(trained.model, SelfAttention)
    assert fast_paths(trained.model) is None
    translator, how = Translator(trained), SearchConfig(beam_size=3, max_length=12)
    (found,) = translator.translate(["The cat sees the dog."], config=how, n_best=3)
    assert len(found.candidates) == 3
    seen = translator.attend("The cat sees the dog.", config=how)
    assert seen.matrix.sum(axis=1) == pytest.approx(1)
    pair = [("The cat sees the dog.", "Le chat voit le chien.")]
    matrices = [
        next(iter(forced_attention(trained.model, trained.tokenizer, pair, kind=kind))).rows
        for kind in ("attention", "posterior")
    ]
    torch.testing.assert_close(*matrices)
