from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.checkpoint import load_checkpoint, load_model, save_checkpoint
from dlcli.engine.runs import RunFolder
from dlcli.nmt.config import NmtLoopConfig
from dlcli.nmt.trained import load_trained
from dlcli.nmt.training import choose, epochs_to_average
from dlcli.nmt.validation import Validation, ValidResult
from tests.nmt.runs import make_config, make_learner, run_training, toy_file


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


def test_one_epoch_alone_is_not_averaged(tmp_path: Path) -> None:
    config = make_config(data={"name": toy_file(tmp_path)}, loop={"epochs": 1, "average": 2})
    result, _ = run_training(config, out=tmp_path / "run")
    assert result is not None
    assert result.checkpoint == "best"
