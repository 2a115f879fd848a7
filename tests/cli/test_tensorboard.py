"""`--tensorboard`: the events that a training leaves for TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.tiny import TRAIN, dl, dl_json, error_of

pytestmark = [
    pytest.mark.usefixtures("no_figures"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of TensorBoard's own modules
]


def events(run: Path) -> Any:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = module.EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return found


def test_a_training_and_its_resumption_leave_scalars_and_samples(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "runs/a"
    dl_json(*TRAIN, "--tensorboard", "--snapshots", "0", "--out", "runs/a")
    dl_json("vae", "train", "--resume", "runs/a", "--epochs", "3", "--tensorboard")
    found = events(run)
    losses = found.Scalars("train_loss")
    rows = [line for line in (run / "metrics.jsonl").read_text().splitlines() if line]
    assert len(losses) == len(rows) == 3
    assert [one.step for one in losses] == sorted(one.step for one in losses)
    assert [one.step for one in found.Images("samples")] == [0, losses[-2].step, losses[-1].step]


def test_without_the_package_there_is_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = dl(*TRAIN, "--tensorboard", "--json")
    assert done.exit_code == 2
    assert "pip install" in error_of(done)["hint"]
    assert not Path("runs").exists()
