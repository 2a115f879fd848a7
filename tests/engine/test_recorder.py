"""Writing a run down, so that a resumed run finds exactly what it needs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.engine.events import Evaluated, Event, Finished, Notice, Saved, StateDue
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import cut_metrics, record, resume_state
from dlcli.engine.stopping import StopFlag
from dlcli.errors import CheckpointError, RunFailed
from tests.engine.toy import make_run

END = Finished(reason="done", epoch=1, step=4, train_s=1.0, rate=2.0)


def _evaluated(step: int, **metrics: object) -> Evaluated:
    return Evaluated(epoch=1, step=step, metrics=metrics)


def _due(step: int, name: str = "last") -> StateDue:
    return StateDue(name=name, step=step, state={"model": {"w": torch.full((2,), float(step))}})


def _record(run: RunFolder, *events: Event, stop: StopFlag | None = None) -> list[Event]:
    config = {"a": {"b": 1}}
    return list(record(events, run=run, kind="toy", config=config, stop=stop or StopFlag()))


def _resume(run: RunFolder) -> dict[str, Any] | None:
    state = resume_state(run, kind="toy")
    cut_metrics(run, state)
    return state


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "a run")


def test_states_are_saved_and_the_rest_is_passed_on(run: RunFolder) -> None:
    notice, evaluated = Notice(message="x"), _evaluated(4, train_loss=1.0)
    found = _record(run, notice, _due(4), evaluated, _due(4, "best"), END)
    assert found == [
        notice,
        Saved(path=run.checkpoint("last"), step=4),
        evaluated,
        Saved(path=run.checkpoint("best"), step=4),
        END,
    ]
    state = load_checkpoint(run.checkpoint("best"), kind="toy")
    assert state["config"] == {"a": {"b": 1}}
    assert state["model"]["w"].tolist() == [4.0, 4.0]


def test_a_state_is_on_disk_before_anyone_hears_of_it(run: RunFolder) -> None:
    for event in record([_due(4)], run=run, kind="toy", config={}, stop=StopFlag()):
        assert isinstance(event, Saved)
        assert event.path.exists()


def test_metrics_are_one_strict_line_each(run: RunFolder) -> None:
    _record(run, _evaluated(4, train_loss=float("nan"), kl=[1.0, float("inf")], name="é"), END)
    (line,) = run.metrics_file.read_text(encoding="utf-8").splitlines()
    assert json.loads(line, parse_constant=lambda word: pytest.fail(word)) == {
        "epoch": 1,
        "step": 4,
        "train_loss": None,
        "kl": [1.0, None],
        "name": "é",
    }


def test_resuming_cuts_the_metrics_back_to_the_checkpoint(run: RunFolder) -> None:
    _record(run, _evaluated(4), _due(4), _evaluated(8), _evaluated(12))
    assert [row["step"] for row in run.metrics()] == [4, 8, 12]
    state = _resume(run)
    assert state is not None
    assert state["model"]["w"].tolist() == [4.0, 4.0]
    assert [row["step"] for row in run.metrics()] == [4]


def test_looking_at_a_checkpoint_changes_nothing(run: RunFolder) -> None:
    _record(run, _due(4), _evaluated(8))
    resume_state(run, kind="toy")
    assert [row["step"] for row in run.metrics()] == [8]


def test_half_a_line_is_cut_off_too(run: RunFolder) -> None:
    _record(run, _evaluated(4), _due(4))
    with run.metrics_file.open("a") as file:
        file.write('{"epoch": 2, "st')
    _resume(run)
    _record(run, _evaluated(8))
    assert [json.loads(line)["step"] for line in run.metrics_file.read_text().splitlines()] == [
        4,
        8,
    ]


def test_a_line_that_someone_cut_does_not_swallow_the_next(run: RunFolder) -> None:
    _record(run, _evaluated(4), _evaluated(8), _due(8))
    data = run.metrics_file.read_bytes()
    run.metrics_file.write_bytes(data[: len(data) - 9])
    _resume(run)
    _record(run, _evaluated(12))
    assert [row["step"] for row in run.metrics()] == [4, 12]


def test_without_a_checkpoint_the_run_starts_over(run: RunFolder) -> None:
    _record(run, _evaluated(4))
    assert _resume(run) is None
    assert run.metrics() == []


def test_metrics_that_are_gone_are_no_trouble(run: RunFolder) -> None:
    _record(run, _evaluated(4), _due(4))
    run.metrics_file.unlink()
    assert _resume(run) is not None


def test_a_damaged_checkpoint_leaves_the_metrics_alone(run: RunFolder) -> None:
    _record(run, _evaluated(4), _due(4), _evaluated(8))
    data = run.checkpoint().read_bytes()
    run.checkpoint().write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError):
        resume_state(run, kind="toy")
    assert [row["step"] for row in run.metrics()] == [4, 8]


@pytest.mark.parametrize("value", ["x", None, -5, [1], 1.5])
def test_a_checkpoint_that_lies_about_the_metrics_is_refused(run: RunFolder, value: Any) -> None:
    _record(run, _evaluated(4))
    save_checkpoint(run.checkpoint(), {"model": {}, "metrics_bytes": value}, kind="toy")
    with pytest.raises(CheckpointError, match="how far the metrics had come"):
        resume_state(run, kind="toy")
    assert len(run.metrics()) == 1


def test_a_full_disk_is_a_sentence_that_says_the_checkpoint_is_good(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    _record(run, _due(4))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        RunFailed, match=r"metrics\.jsonl could not be written: No space"
    ) as failure:
        _record(run, _evaluated(8))
    assert "the last checkpoint is good" in failure.value.hint
    with pytest.raises(RunFailed, match=r"last\.pt could not be written"):
        _record(run, _due(8))
    assert load_checkpoint(run.checkpoint(), kind="toy")["model"]["w"].tolist() == [4.0, 4.0]


def test_signals_are_held_back_while_writing(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, seen = StopFlag(), []
    monkeypatch.setattr(os, "fsync", lambda _handle: seen.append(stop.is_deferring))
    _record(run, _evaluated(4), _due(4), stop=stop)
    assert seen == [True] * 3  # the metrics, the checkpoint, its folder
    assert not stop.is_deferring
