"""A trained translator is loaded with its settings, vocabulary and weights, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlcli.engine.checkpoint import save_checkpoint
from dlcli.engine.config import to_dict
from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError, UsageFault
from dlcli.nmt.trained import find_trained, load_trained
from tests.nmt.toy import make_config, make_data, make_learner


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    return RunFolder(tmp_path / "run")


def _save(run: RunFolder, name: str, *, kind: str = "nmt", **settings: object) -> None:
    content = {
        "config": to_dict(make_config(**settings)),
        "model": make_learner().network.state_dict(),
    }
    save_checkpoint(run.checkpoint(name), content, kind=kind)
    make_data().tokenizer.save(run.path)


def test_comes_back_with_its_settings_vocabulary_and_weights(run: RunFolder) -> None:
    _save(run, "last", data={"direction": "fr-en"})
    found = load_trained(run)
    assert found.direction == ("fr", "en")
    assert found.checkpoint == "last"
    assert found.tokenizer.size == found.model.vocabulary
    assert not found.model.training
    for name, weight in make_learner().model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], weight)


def test_the_result_is_the_average_then_the_best_then_the_last(run: RunFolder) -> None:
    for name in ("last", "best", "average"):
        _save(run, name)
        assert load_trained(run).checkpoint == name
    assert load_trained(run, checkpoint="last").checkpoint == "last"


def test_weights_of_another_size_are_refused(run: RunFolder) -> None:
    _save(run, "last", model={"hidden": 11})
    with pytest.raises(CheckpointError, match="not those of this network"):
        load_trained(run)


def test_a_lost_vocabulary_is_said(run: RunFolder) -> None:
    _save(run, "last")
    (run.path / "tokenizer.model").unlink()
    with pytest.raises(CheckpointError, match="lost its vocabulary"):
        load_trained(run)


def test_the_one_taken_is_said(run: RunFolder) -> None:
    _save(run, "last")
    run.config_file.touch()
    run.update_record(kind="nmt")
    notes: list[str] = []
    find_trained(str(run.path), notice=notes.append)
    assert notes == [f"Using {run.path}, checkpoint last."]
    run.update_record(kind="vae")
    with pytest.raises(UsageFault, match="is a vae run"):
        find_trained(str(run.path), notice=notes.append)
