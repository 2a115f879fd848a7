"""Writing a run down, so that a resumed run finds exactly what it needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.checkpoint import load_checkpoint, save_checkpoint
from dlcli.engine.config import dump_yaml, load_yaml, resolve
from dlcli.engine.events import CheckpointDue, Evaluated, Event, Finished, Notice, RunStarted, Saved
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import (
    MAY_CHANGE,
    RunLocation,
    Session,
    check_unchanged,
    cut_metrics,
    git_commit,
    open_session,
    record,
    resume_state,
)
from dlcli.engine.stopping import StopFlag
from dlcli.errors import CheckpointError, ConfigError, DlError, RunFailed, UsageFault
from tests.engine.toy import Toy, ToyConfig, differences, follow, make_run, outcome

END = Finished(reason="done", epoch=1, step=4, train_s=1.0, rate=2.0)


def _evaluated(step: int, **metrics: object) -> Evaluated:
    return Evaluated(epoch=1, step=step, metrics=metrics)


def _due(step: int, name: str = "last") -> CheckpointDue:
    return CheckpointDue(
        name=name, step=step, state={"model": {"w": torch.full((2,), float(step))}}
    )


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


def test_a_line_that_someone_cut_does_not_swallow_the_next(run: RunFolder) -> None:
    _record(run, _evaluated(4), _evaluated(8), _due(8))
    data = run.metrics_file.read_bytes()
    run.metrics_file.write_bytes(data[: len(data) - 9])
    _resume(run)
    _record(run, _evaluated(12))
    assert [row["step"] for row in run.metrics()] == [4, 12]


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
    stop = StopFlag()
    left = [signal.SIGHUP, signal.SIGTERM, signal.SIGINT]
    monkeypatch.setattr(os, "fsync", lambda _handle: os.kill(os.getpid(), left.pop()))
    with stop.watching():
        _record(run, _evaluated(4), _due(4), stop=stop)
    assert left == [], "the metrics, the checkpoint, its folder"


@pytest.fixture
def resuming_run(tmp_path: Path) -> RunFolder:
    found = make_run(tmp_path / "run")
    found.config_file.write_text(dump_yaml(ToyConfig()))
    return found


def _changed(group: str, **values: Any) -> ToyConfig:
    config = ToyConfig()
    return replace(config, **{group: replace(getattr(config, group), **values)})


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("loop", "epochs", 99),
        ("loop", "max_minutes", 1.5),
        ("loop", "checkpoint_minutes", 1.5),
        ("loop", "patience", 7),
        ("compute", "device", "auto"),
        ("compute", "threads", 2),
    ],
)
def test_what_changes_no_step_may_change(
    resuming_run: RunFolder, group: str, key: str, value: object
) -> None:
    assert f"{group}.{key}" in MAY_CHANGE
    check_unchanged(_changed(group, **{key: value}), resuming_run)


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("optim", "lr", 0.5),
        ("optim", "accumulate", 2),
        ("loop", "batch_size", 3),
        ("loop", "evaluate_every", 2),
        ("compute", "seed", 4),
        ("compute", "precision", "bf16"),
    ],
)
def test_what_changes_the_steps_is_refused_by_name(
    resuming_run: RunFolder, group: str, key: str, value: object
) -> None:
    with pytest.raises(ConfigError, match=rf"was trained with {group}\.{key} = .*, not {value}\."):
        check_unchanged(_changed(group, **{key: value}), resuming_run)


def test_a_setting_that_an_older_version_did_not_have_takes_its_default(
    resuming_run: RunFolder,
) -> None:
    text = resuming_run.config_file.read_text()
    resuming_run.config_file.write_text(
        "".join(t for t in text.splitlines(True) if "weight_decay" not in t)
    )
    check_unchanged(ToyConfig(), resuming_run)


def test_auto_may_be_spelt_out_as_what_it_was(resuming_run: RunFolder) -> None:
    resuming_run.config_file.write_text(dump_yaml(_changed("compute", precision="auto")))
    resuming_run.update_record(precision="fp32")
    check_unchanged(_changed("compute", precision="fp32"), resuming_run)
    with pytest.raises(ConfigError, match=r"compute\.precision = auto, not bf16"):
        check_unchanged(_changed("compute", precision="bf16"), resuming_run)


@pytest.mark.parametrize("native", [True, False])
def test_a_run_in_bf16_is_resumed_in_fp32_only_by_word_and_where_bf16_is_slow(
    native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcli.engine.device.cpu_flags", lambda: {"amx_bf16"} if native else set())
    auto, fp32 = _changed("compute", precision="auto"), _changed("compute", precision="fp32")
    run = RunFolder(tmp_path / "run")
    _train(RunLocation(out=run.path), auto, on_batch=_kill_self_at(2))
    run.update_record(precision="bf16")
    with (
        pytest.raises(ConfigError, match="was trained in bf16") as failure,
        _open(RunLocation(resume=run.path), auto),
    ):
        pass
    assert f"Add --precision {'bf16' if native else 'fp32'}" in failure.value.hint
    if native:
        with pytest.raises(ConfigError, match="auto, not fp32"):
            _train(RunLocation(resume=run.path), fp32)
        return
    _train(RunLocation(resume=run.path), fp32, on_batch=_kill_self_at(6))
    assert run.record()["precision"] == "bf16+fp32"
    _train(RunLocation(resume=run.path), fp32)
    assert (run.record()["status"], run.record()["precision"]) == ("done", "bf16+fp32")


CONFIG = ToyConfig()


def _open(location: RunLocation, config: ToyConfig = CONFIG) -> Any:
    return open_session(
        kind="toy",
        title="toy-net",
        config=config,
        location=location,
        bf16_pays=False,
    )


def _train(location: RunLocation, config: ToyConfig = CONFIG, **learner: Any) -> list[Event]:
    """Train as a domain's `train` does; a stop is written down as one."""
    events: list[Event] = []
    session: Session
    with _open(location, config) as session:
        made = session.events(Toy(dropout=0.5, **learner), keep_epochs=(2,))
        end = follow(made, events.append)
        session.finish(status="interrupted" if end.reason == "interrupted" else "done")
    return events


def _kill_self_at(batch: int, *, times: int = 1) -> Callable[[int], None]:
    def on_batch(number: int) -> None:
        if number == batch:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGTERM if batch % 2 else signal.SIGINT)

    return on_batch


def test_a_run_folder_holds_what_the_design_says(tmp_path: Path) -> None:
    out = tmp_path / "runs d'été" / "un"
    events = _train(RunLocation(out=out))
    run = RunFolder(out)
    assert isinstance(events[0], RunStarted)
    assert (events[0].run, events[0].step, events[0].steps_per_epoch) == (out, 0, 4)
    assert isinstance(events[-1], Finished)
    assert resolve(ToyConfig, [load_yaml(run.config_file)]) == CONFIG
    record = run.record()
    assert (record["kind"], record["title"], record["status"]) == ("toy", "toy-net", "done")
    assert (record["device"], record["precision"], record["processes"]) == ("cpu", "fp32", 1)
    assert [row["epoch"] for row in run.metrics()] == [1, 2, 3]
    names = sorted(path.name for path in run.checkpoints.iterdir())
    assert names == ["best.pt", "epoch-0002.pt", "last.pt"]
    assert [event for event in events if isinstance(event, CheckpointDue)] == []


@pytest.mark.parametrize("batch", [0, 5, 7, 11])
def test_a_signal_saves_and_the_run_goes_on_to_the_same_bits(batch: int, tmp_path: Path) -> None:
    _train(RunLocation(out=tmp_path / "whole"))
    run = RunFolder(tmp_path / "stopped")
    end = _train(RunLocation(out=run.path), on_batch=_kill_self_at(batch))[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.step) == ("interrupted", batch + 1)
    assert run.record()["status"] == "interrupted"
    began = _train(RunLocation(resume=run.path))[0]
    assert isinstance(began, RunStarted)
    assert began.step == batch + 1
    assert not differences(outcome(run), outcome(RunFolder(tmp_path / "whole")))


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        _train(RunLocation(out=run.path), on_batch=_kill_self_at(6, times=2))
    assert run.record()["status"] == "interrupted"
    _train(RunLocation(resume=run.path))
    assert run.record()["status"] == "done"


def test_the_first_command_and_start_are_kept_and_the_later_ones_added(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    _train(RunLocation(out=run.path), on_batch=_kill_self_at(2))
    first = run.record()
    _train(RunLocation(resume=run.path))
    found = run.record()
    assert (found["command"], found["started"]) == (first["command"], first["started"])
    assert [set(again) for again in found["resumed"]] == [{"command", "started"}]


def test_a_failure_is_noted_and_forgotten_once_the_run_goes_on(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")

    def fail(number: int) -> None:
        if number == 5:
            raise RunFailed("The sky fell.")

    with pytest.raises(RunFailed, match="The sky fell"):
        _train(RunLocation(out=run.path), on_batch=fail)
    assert (run.record()["status"], run.record()["error"]) == ("failed", "The sky fell.")
    _train(RunLocation(resume=run.path))
    assert run.record()["status"] == "done"
    assert "error" not in run.record()


def test_places_that_hold_no_run_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("x")
    refused: list[tuple[RunLocation, type[DlError]]] = [
        (RunLocation(resume=tmp_path / "nothing"), UsageFault),
        (RunLocation(resume=tmp_path / "thesis"), UsageFault),
        (RunLocation(out=tmp_path / "thesis"), UsageFault),
        (RunLocation(out=tmp_path / "thesis", force=True), UsageFault),
        (RunLocation(out=tmp_path / "thesis" / "a.tex" / "run"), RunFailed),
    ]
    for location, kind in refused:
        with pytest.raises(kind), _open(location):
            pass
    assert os.listdir(tmp_path / "thesis") == ["a.tex"]


def test_in_a_checkout_the_commit_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *identity, *words], check=True, capture_output=True)
        return done.stdout.decode().strip()

    assert git_commit() is None
    git("init", "-q")
    assert git_commit() is None, "nothing is committed yet"
    git("commit", "-q", "--allow-empty", "-m", "x")
    assert git_commit() == git("rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None, "there is no git"
