from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.events import Evaluated, Notice, RunStarted
from dlcli.engine.runs import RunFolder
from dlcli.errors import ConfigError, DataError, RunFailed, UsageFault
from dlcli.nmt.trained import load_trained
from dlcli.nmt.training import train
from tests.nmt.runs import make_config, run_training, toy_file
from tests.nmt.sentences import corpus

LEARNS: dict[str, Any] = {
    "model": {"embedding": 32, "encoder_hidden": 24, "hidden": 48, "attention_size": 24}
    | {f"dropout_{name}": 0.0 for name in ("embedding", "context", "readout")},
    "loop": {"epochs": 25, "batch_size": 32, "batch_unit": "sentences"},
    "optim": {"lr": 0.01},
}


def test_a_training_leaves_a_run_that_loads_back(tmp_path: Path) -> None:
    config = make_config(data={"name": toy_file(tmp_path)})
    result, events = run_training(config, out=tmp_path / "run")
    assert result is not None
    assert result.valid is not None
    assert (result.epochs, result.updates, result.checkpoint) == (2, 8, "best")
    assert result.tokens_per_s > 0
    started = next(event for event in events if isinstance(event, RunStarted))
    assert (started.unit, started.title) == ("tokens", "nmt-en-fr")
    rows = RunFolder(tmp_path / "run").metrics()
    assert [row["epoch"] for row in rows] == [1, 2]
    assert result.valid.bleu == max(row["valid_bleu"] for row in rows)
    assert RunFolder(tmp_path / "run").record()["kernels"] in ("compiled", "plain")
    trained = load_trained(RunFolder(tmp_path / "run"))
    assert trained.direction == ("en", "fr")
    assert trained.tokenizer.size == result.vocabulary == trained.model.vocabulary
    assert sum(p.numel() for p in trained.model.parameters()) == result.parameters
    for part in ("data:", "direction:en-fr", "seed:0", "updates:8", "precision:fp32"):
        assert part in result.signature


def test_a_small_set_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcli.nmt.batching.load_corpus", lambda *_a, **_k: corpus(200))
    result, _ = run_training(make_config(**LEARNS), out=tmp_path / "run")
    assert result is not None
    assert result.valid is not None
    assert result.valid.bleu > 80
    assert result.valid.nll_per_token < 0.3


@pytest.mark.parametrize(
    "settings",
    [
        {"model": {"attention": "none"}},
        {"model": {"attention_query": "previous", "readout": "tanh", "tie_embeddings": False}},
        {"data": {"tokenizer": "word", "lowercase": True}},
        {"objective": {"teacher_forcing": 0.5, "teacher_forcing_unit": "sentence"}},
        {"loop": {"batch_unit": "tokens", "batch_size": 200, "select_by": "loss"}},
    ],
)
def test_every_kind_of_training_runs(settings: dict[str, Any], tmp_path: Path) -> None:
    data = {"name": toy_file(tmp_path), **settings.pop("data", {})}
    result, _ = run_training(make_config(data=data, **settings), out=tmp_path / "run")
    assert result is not None
    assert load_trained(RunFolder(tmp_path / "run")).checkpoint == "best"


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = make_config(data={"name": toy_file(tmp_path)}, compute={"seed": seed})
        run_training(config, out=tmp_path / name)
        run = RunFolder(tmp_path / name)
        weights.append(load_trained(run, checkpoint="last").model.state_dict())
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    assert any(not torch.equal(weights[0][name], tensor) for name, tensor in weights[2].items())


def test_a_finished_run_gives_its_result_again_and_a_longer_one_goes_on(tmp_path: Path) -> None:
    config = make_config(data={"name": toy_file(tmp_path)})
    first, _ = run_training(config, out=tmp_path / "run")
    again, events = run_training(config, out=tmp_path / "run", resume=True)
    assert again == first
    assert not events
    longer = dataclasses.replace(config, loop=dataclasses.replace(config.loop, epochs=3))
    more, events = run_training(longer, out=tmp_path / "run", resume=True)
    assert more is not None
    assert more.updates == 12
    assert [event.epoch for event in events if isinstance(event, Evaluated)] == [3]


def test_weights_and_vocabulary_of_another_run(tmp_path: Path) -> None:
    config = make_config(data={"name": toy_file(tmp_path)})
    run_training(config, out=tmp_path / "first")
    still = make_config(data={"name": toy_file(tmp_path), "vocabulary": 300}, loop={"epochs": 0})
    result, _ = run_training(still, out=tmp_path / "second", init_from=str(tmp_path / "first"))
    assert result is not None
    assert result.signature.count("|init:first|") == 1
    ours, theirs = (
        load_trained(RunFolder(tmp_path / name), checkpoint=checkpoint)
        for name, checkpoint in (("second", "last"), ("first", "best"))
    )
    assert ours.tokenizer.size == theirs.tokenizer.size == 330
    for name, tensor in ours.model.state_dict().items():
        assert torch.equal(tensor, theirs.model.state_dict()[name])


def test_weights_of_another_shape_are_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    run_training(make_config(data={"name": toy_file(tmp_path)}), out=tmp_path / "first")
    other = make_config(data={"name": toy_file(tmp_path)}, model={"hidden": 11})
    with pytest.raises(ConfigError, match="of another network") as caught:
        run_training(other, out=tmp_path / "second", init_from=str(tmp_path / "first"))
    assert caught.value.hint.startswith("Add --hidden ")
    assert not (tmp_path / "second").exists()


def test_a_run_of_the_vae_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "vae")
    run.path.mkdir()
    run.config_file.write_text("model: {arch: mlp}\n")
    run.update_record(kind="vae")
    config = make_config(data={"name": toy_file(tmp_path)})
    with pytest.raises(UsageFault, match="is a vae run"):
        run_training(config, out=tmp_path / "run", init_from=str(run.path))


def test_a_loss_that_is_no_number_ends_in_a_sentence(tmp_path: Path) -> None:
    config = make_config(
        data={"name": toy_file(tmp_path)},
        optim={"lr": 1e6, "clip_norm": 0.0, "optimizer": "sgd"},
        loop={"epochs": 30},
    )
    with pytest.raises(RunFailed, match="finite"):
        run_training(config, out=tmp_path / "run")


def test_contradictions_and_missing_files_are_refused_before_a_folder_is_made(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="--average"):
        run_training(make_config(loop={"average": 1}), out=tmp_path / "run")
    with pytest.raises(DataError):
        run_training(make_config(data={"name": "nowhere.tsv"}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_notices_come_once_the_run_has_begun(tmp_path: Path) -> None:
    config = make_config(data={"name": toy_file(tmp_path), "vocabulary": 9000})
    events = list(train(config, place=None))
    notes = [event.message for event in events if isinstance(event, Notice)]
    assert any("instead of 9000" in note for note in notes)
