"""Training a translator: batches, teacher forcing, the choice of weights, and whole trainings."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcli.engine.checkpoint import load_checkpoint, load_model, save_checkpoint
from dlcli.engine.config import merge
from dlcli.engine.events import Notice, RunStarted
from dlcli.engine.loop import Learner
from dlcli.engine.runs import RunFolder
from dlcli.engine.step import Batch
from dlcli.errors import CheckpointError
from dlcli.nmt.config import NmtEvalConfig, NmtLoopConfig, SearchConfig
from dlcli.nmt.evaluation import evaluate, run_split
from dlcli.nmt.fast.compiling import FORMS
from dlcli.nmt.tokenizer import PAD
from dlcli.nmt.trained import ValidResult, describe, load_trained, summarise
from dlcli.nmt.training import (
    TASK,
    choose,
    epochs_to_average,
)
from dlcli.nmt.translator import Translator
from dlcli.nmt.validation import Validation
from tests.nmt.toy import (
    ALL,
    RESULT,
    TRANSFORMER,
    corpus,
    make_config,
    make_learner,
    run_training,
    toy_file,
    write_run,
)


@pytest.mark.parametrize(
    ("epochs", "average", "kept"),
    [(5, 0, ()), (5, 2, (4, 5)), (3, 9, (1, 2, 3)), (0, 2, ())],
)
def test_the_last_epochs_are_kept_to_be_averaged(
    epochs: int, average: int, kept: tuple[int, ...]
) -> None:
    assert epochs_to_average(NmtLoopConfig(epochs=epochs, average=average)) == kept


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished training."""
    config = make_config(data={"name": toy_file(tmp_path)}, loop={"epochs": 4})
    run_training(config, out=tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture
def scores(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Let the choice fall on `average` or not: BLEU of what is measured after the training."""
    given = {"best": 10.0, "average": 20.0}
    turn = iter(["best", "average"] * 9)

    def measure(self: Validation, model: object) -> ValidResult:
        bleu = given[next(turn)]
        return ValidResult(
            nll_per_token=1 / (1 + bleu),
            free_nll_per_token=1.0,
            bleu=bleu,
            chrf=1.0,
            sentences=1,
        )

    monkeypatch.setattr(Validation, "measure", measure)
    return given


def _keep_epochs(run: RunFolder) -> None:
    """Lay the checkpoints of three epochs, as a training leaves them, beside the last."""
    state = load_checkpoint(run.checkpoint(), kind="nmt")
    for epoch in (2, 3, 4):
        weights = {name: torch.full_like(w, float(epoch)) for name, w in state["model"].items()}
        save_checkpoint(
            run.checkpoint(f"epoch-{epoch:04d}"), {**state, "model": weights}, kind="nmt"
        )


@pytest.mark.parametrize("select_by", ["bleu", "loss"])
@pytest.mark.parametrize("wins", [True, False])
def test_the_average_is_the_result_where_it_is_better(
    wins: bool,
    select_by: Any,
    run: RunFolder,
    scores: dict[str, float],
) -> None:
    _keep_epochs(run)
    scores["average"] = 20.0 if wins else 5.0
    learner = make_learner()
    loop = NmtLoopConfig(epochs=4, average=3, select_by=select_by)
    name, valid = choose(loop, run, learner)
    assert valid is not None
    assert (name, valid.bleu) == (("average", 20.0) if wins else ("best", 10.0))
    assert load_trained(run).checkpoint == name
    assert not list(run.checkpoints.glob("epoch-*.pt"))
    expected = load_model(run, kind="nmt", checkpoint=name).weights
    for key, weight in learner.network.state_dict().items():
        assert torch.equal(weight, expected[key])
        assert not wins or bool((weight == 3.0).all())


def test_a_training_averages_its_last_epochs(tmp_path: Path) -> None:
    config = make_config(
        data={"name": toy_file(tmp_path)}, loop={"epochs": 3, "average": 2, "select_by": "loss"}
    )
    result, _ = run_training(config, out=tmp_path / "run")
    assert result is not None
    assert result.checkpoint in ("average", "best")
    assert "|average:2|" in result.signature
    names = {path.stem for path in RunFolder(tmp_path / "run").checkpoints.iterdir()}
    assert names == {"last", "best"} | ({"average"} if result.checkpoint == "average" else set())


def _batches(learner: Learner, *, start: int = 0, rank: int = 0, world: int = 1) -> list[Batch]:
    return list(learner.batches(epoch=1, start=start, rank=rank, world=world))


def _sentences(batches: list[Batch]) -> list[tuple[int, ...]]:
    rows = [row for batch in batches for row in batch.payload[0].target_out.tolist()]
    return sorted(tuple(i for i in row if i != PAD) for row in rows if any(row))


@pytest.mark.parametrize("unit", ["sentences", "tokens"])
def test_the_batches_of_an_epoch_are_every_pair_once(unit: str) -> None:
    learner = make_learner(loop={"batch_unit": unit, "batch_size": 60})
    found = _batches(learner)
    assert len(found) == learner.steps_per_epoch()
    everything = learner.train.batch(np.arange(len(learner.train))).target_out.tolist()
    expected = sorted(tuple(i for i in row if i != PAD) for row in everything)
    assert _sentences(found) == expected
    assert sum(batch.weight for batch in found) == learner.tokens
    assert sum(batch.items for batch in found) == learner.tokens


def test_starting_later_leaves_out_the_first_batches_and_changes_none() -> None:
    learner = make_learner(objective={"teacher_forcing": 0.5})
    whole = _batches(learner)
    for start in range(len(whole) + 1):
        rest = _batches(learner, start=start)
        assert len(rest) == len(whole) - start
        for one, other in zip(rest, whole[start:], strict=True):
            assert torch.equal(one.payload[0].source, other.payload[0].source)
            assert torch.equal(one.payload[0].target_in, other.payload[0].target_in)
            assert torch.equal(one.payload[1], other.payload[1])


@pytest.mark.parametrize("forcing", [1.0, 0.5])
@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_all_processes_add_up_to_the_whole(forcing: float, world: int) -> None:
    learner = make_learner(objective={"teacher_forcing": forcing}, model={"dropout_embedding": 0.0})
    learner.network.double().eval()
    parts = [_batches(learner, rank=rank, world=world) for rank in range(world)]
    for number, batch in enumerate(_batches(learner)):
        sums = learner.network(*batch.payload)
        shares = [learner.network(*part[number].payload) for part in parts]
        for name, value in sums.items():
            torch.testing.assert_close(sum(share[name] for share in shares), value)
        assert sum(part[number].items for part in parts) == batch.items
        assert {part[number].weight for part in parts} == {batch.weight}


def test_a_process_without_sentences_counts_for_nothing() -> None:
    learner = make_learner(train=25, loop={"batch_size": 12})  # the last batch has one pair
    learner.network.double().eval()
    parts = [_batches(learner, rank=rank, world=2) for rank in range(2)]
    idle = [batch for part in parts for batch in part if batch.items == 0]
    assert len(idle) == 1
    found = learner.network(*idle[0].payload)
    assert found["loss"].item() == found["nll"].item() == 0.0
    found["loss"].backward()
    assert all(p.grad is None or not p.grad.any() for p in learner.network.parameters())


def test_scheduled_sampling_begins_with_the_teacher() -> None:
    learner = make_learner(
        objective={"teacher_forcing": 1.0, "teacher_forcing_end": 0.0},
        loop={"epochs": 4, "batch_size": 2},
    )
    first, *_ = learner.batches(epoch=0, start=0, rank=0, world=1)
    assert first.payload[1] is None
    shares = []
    for epoch in range(4):
        coins = [b.payload[1] for b in learner.batches(epoch=epoch, start=0, rank=0, world=1)]
        coins = [c for c in coins if c is not None]
        shares.append(sum(float(c.sum()) for c in coins) / sum(c.numel() for c in coins))
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(7 / 8, abs=0.06)
    assert shares[3] == pytest.approx(1 / 8, abs=0.06)


def test_an_evaluation_has_both_losses_and_both_scores() -> None:
    learner = make_learner()
    found = learner.evaluate(epoch=1)
    assert set(found) == {"valid_loss", "valid_free_loss", "valid_bleu", "valid_chrf"}
    assert found["valid_loss"] == pytest.approx(math.log(330), rel=0.2)
    assert found == learner.evaluate(epoch=2)


@pytest.mark.parametrize(
    ("epochs", "steps", "updates"),
    [(1, 1, "1 update,"), (2, 2, "4 updates,"), (33, 3, "99 updates,"), (50, 2, ""), (0, 9, "")],
)
def test_a_training_of_few_updates_says_how_to_make_more(
    epochs: int, steps: int, updates: str
) -> None:
    learner = make_learner()
    start = RunStarted(
        run=Path("run"),
        title="nmt-en-fr",
        data="toy",
        epochs=epochs,
        steps_per_epoch=steps,
        step=0,
        unit="tokens",
    )
    notices = [e for e in TASK.watch(learner.config, learner, [start]) if isinstance(e, Notice)]
    assert len(notices) == bool(updates)
    for notice in notices:
        assert updates in notice.message
        assert "--batch-unit sentences" in notice.message


LEARNS: dict[str, Any] = {
    "model": {"embedding": 32, "encoder_hidden": 24, "hidden": 48, "attention_size": 24}
    | {f"dropout_{name}": 0.0 for name in ("embedding", "context", "readout")},
    "loop": {"epochs": 25, "evaluate_every": 25, "batch_size": 32, "batch_unit": "sentences"},
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
    assert RunFolder(tmp_path / "run").record()["kernels"] in (*FORMS, "plain")
    trained = load_trained(RunFolder(tmp_path / "run"))
    assert trained.direction == ("en", "fr")
    assert trained.tokenizer.size == result.vocabulary == trained.model.vocabulary
    assert sum(p.numel() for p in trained.model.parameters()) == result.parameters
    for part in ("data:", "direction:en-fr", "seed:0", "updates:8", "precision:fp32"):
        assert part in result.signature


TRANSFORMER_LEARNS = merge(
    LEARNS,
    {
        "model": TRANSFORMER | {"embedding": 32, "feedforward": 64, "dropout_residual": 0.0},
        "optim": {"warmup_steps": 20},
    },
)


@pytest.mark.parametrize("settings", [LEARNS, TRANSFORMER_LEARNS], ids=["gru", "transformer"])
def test_a_small_set_is_learnt(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcli.nmt.batching.load_corpus", lambda *_a, **_k: corpus(200))
    result, _ = run_training(make_config(**settings), out=tmp_path / "run")
    assert result is not None
    assert result.valid is not None
    assert result.valid.bleu > 80
    assert result.valid.nll_per_token < 0.3


@pytest.mark.parametrize(
    "settings",
    [
        {"model": {"attention_query": "previous", "readout": "tanh", "tie_embeddings": False}},
        {"data": {"tokenizer": "word", "lowercase": True}},
        {"loop": {"batch_unit": "tokens", "batch_size": 200, "select_by": "loss"}},
        {"model": TRANSFORMER, "objective": {"teacher_forcing": 0.5}, "loop": {"average": 2}},
    ],
)
def test_every_kind_of_training_runs(settings: dict[str, Any], tmp_path: Path) -> None:
    data = {"name": toy_file(tmp_path), **settings.pop("data", {})}
    result, _ = run_training(make_config(data=data, **settings), out=tmp_path / "run")
    assert result is not None
    assert load_trained(RunFolder(tmp_path / "run")).checkpoint == result.checkpoint


def test_a_training_measures_what_evaluating_its_weights_does(tmp_path: Path) -> None:
    """Also on no-break and double spaces, and on sentences longer than any for training."""
    spaced = (
        (source.replace(" ", ("\u00a0", "  ", "\u202f", " ")[i % 4]), target)
        for i, (source, target) in enumerate(ALL[:160])
    )
    (tmp_path / "toy.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in spaced), encoding="utf-8")
    config = make_config(
        data={"name": str(tmp_path / "toy.tsv"), "max_length": 14}, loop={"epochs": 5}
    )
    result, _ = run_training(config, out=tmp_path / "run")
    search = SearchConfig(beam_size=1, device="cpu", precision="fp32")
    how = NmtEvalConfig(split="valid", search=search)
    translator = Translator.load(tmp_path / "run", config=search)
    sentences = run_split(translator.trained, how, notice=print)
    assert max(len(translator.parts(line)) for line in sentences.pairs.source) > 1
    found = evaluate(translator, sentences, how)
    assert result is not None
    assert result.valid is not None
    assert 0 < found.bleu.score < 100
    assert (result.valid.bleu, result.valid.chrf) == (found.bleu.score, found.chrf.score)


def test_a_signature_has_the_settings_of_its_own_network_alone() -> None:
    recurrent, transformer = (
        describe(make_config(model=model)).split("|") for model in ({}, TRANSFORMER)
    )
    own = {"encoder:1x5", "hidden:9", "attention:updated-3", "readout:maxout-7"}
    others = {"arch:transformer", "layers:2,2", "heads:2", "feedforward:5", "norm:pre"}
    assert own < set(recurrent)
    assert others < set(transformer)
    shared = {part.partition(":")[0] for part in recurrent} & {
        part.partition(":")[0] for part in transformer
    }
    assert not shared & {part.partition(":")[0] for part in own | others}
    assert "dropout:0.1,0.1" in transformer


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = make_config(data={"name": toy_file(tmp_path)}, compute={"seed": seed})
        run_training(config, out=tmp_path / name)
        run = RunFolder(tmp_path / name)
        weights.append(load_trained(run, checkpoint="last").model.state_dict())
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    assert any(not torch.equal(weights[0][name], tensor) for name, tensor in weights[2].items())


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


def test_without_validation_pairs_there_is_nothing_to_average() -> None:
    found = summarise({"seed-0": replace(RESULT, valid=None)})
    assert found["valid"] is None
    assert found["valid_std"] is None


def test_a_run_comes_back_with_its_settings_vocabulary_and_weights(tmp_path: Path) -> None:
    run = RunFolder(write_run(tmp_path / "run", direction="fr-en"))
    found = load_trained(run)
    assert found.direction == ("fr", "en")
    assert found.tokenizer.size == found.model.vocabulary
    assert not found.model.training
    saved = load_checkpoint(run.checkpoint(), kind="nmt")["model"]
    for name, weight in found.model.state_dict().items():
        assert torch.equal(weight, saved[f"model.{name}"])


def test_the_result_is_the_average_then_the_best_then_the_last(tmp_path: Path) -> None:
    run = RunFolder(write_run(tmp_path / "run"))
    for name in ("last", "best", "average"):
        if name != "last":
            shutil.copy(run.checkpoint(), run.checkpoint(name))
        assert load_trained(run).checkpoint == name
    assert load_trained(run, checkpoint="last").checkpoint == "last"


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    run, other = (
        RunFolder(write_run(tmp_path / name, **sizes))
        for name, sizes in (("run", {}), ("other", {"hidden": 11}))
    )
    content = load_checkpoint(run.checkpoint(), kind="nmt")
    content["config"] = load_checkpoint(other.checkpoint(), kind="nmt")["config"]
    save_checkpoint(run.checkpoint(), content, kind="nmt")
    with pytest.raises(CheckpointError, match="not those of this network"):
        load_trained(run)
