"""A training from folder to folder: opened, recorded, stopped, gone on with, refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.config import load_yaml, resolve
from dlcli.engine.events import Evaluated, Event, Finished, RunStarted, Saved, StateDue
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import Place, Session, follow, open_session
from dlcli.engine.settings import LoopConfig
from dlcli.errors import CheckpointError, ConfigError, DlError, RunFailed, UsageFault
from tests.engine.toy import Toy, ToyConfig, differences, outcome

CONFIG = ToyConfig()


def _open(place: Place, config: ToyConfig = CONFIG) -> Any:
    return open_session(
        kind="toy",
        title="toy-net",
        config=config,
        compute=config.compute,
        place=place,
        bf16_pays=False,
    )


def _train(place: Place, config: ToyConfig = CONFIG, **learner: Any) -> list[Event]:
    """Train as a domain's `train` does; a stop is written down as one."""
    events: list[Event] = []
    session: Session
    with _open(place, config) as session:
        made = session.events(
            Toy(dropout=0.5, **learner),
            optim=config.optim,
            loop=config.loop,
            compute=config.compute,
            keep_epochs=(2,),
        )
        end = follow(made, events.append)
        assert end is not None
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
    events = _train(Place(out=out))
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
    assert [event for event in events if isinstance(event, StateDue)] == []


def test_the_seed_reaches_the_network_built_inside() -> None:
    found = []
    for _ in range(2):
        with _open(Place()):
            found.append(torch.rand(3))
    assert torch.equal(*found)


@pytest.mark.parametrize("batch", [0, 5, 7, 11])
def test_a_signal_saves_and_the_run_goes_on_to_the_same_bits(batch: int, tmp_path: Path) -> None:
    _train(Place(out=tmp_path / "whole"))
    run = RunFolder(tmp_path / "stopped")
    end = _train(Place(out=run.path), on_batch=_kill_self_at(batch))[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.step) == ("interrupted", batch + 1)
    assert run.record()["status"] == "interrupted"
    began = _train(Place(resume=run.path))[0]
    assert isinstance(began, RunStarted)
    assert began.step == batch + 1
    assert not differences(outcome(run), outcome(RunFolder(tmp_path / "whole")))


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        _train(Place(out=run.path), on_batch=_kill_self_at(6, times=2))
    assert run.record()["status"] == "interrupted"
    _train(Place(resume=run.path))
    assert run.record()["status"] == "done"


def test_a_signal_in_an_evaluation_stops_it_and_it_is_done_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")

    def interrupt(epoch: int) -> None:
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _train(Place(out=run.path), on_evaluate=interrupt)
    assert [row["epoch"] for row in run.metrics()] == [1]
    _train(Place(out=tmp_path / "whole"))
    began = _train(Place(resume=run.path))[0]
    assert isinstance(began, RunStarted)
    assert began.step == 8
    assert not differences(outcome(run), outcome(RunFolder(tmp_path / "whole")))


def test_the_first_command_and_start_are_kept_and_the_later_ones_added(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    _train(Place(out=run.path), on_batch=_kill_self_at(2))
    first = run.record()
    _train(Place(resume=run.path))
    found = run.record()
    assert (found["command"], found["started"]) == (first["command"], first["started"])
    assert [set(again) for again in found["resumed"]] == [{"command", "started"}]


def test_a_failure_is_noted_and_forgotten_once_the_run_goes_on(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")

    def fail(number: int) -> None:
        if number == 5:
            raise RunFailed("The sky fell.")

    with pytest.raises(RunFailed, match="The sky fell"):
        _train(Place(out=run.path), on_batch=fail)
    assert (run.record()["status"], run.record()["error"]) == ("failed", "The sky fell.")
    _train(Place(resume=run.path))
    assert run.record()["status"] == "done"
    assert "error" not in run.record()


def test_what_a_killed_process_was_writing_is_swept_up(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    _train(Place(out=run.path), on_batch=_kill_self_at(2))
    (run.checkpoints / ".last.pt.ab12.tmp").write_bytes(b"half")
    _train(Place(resume=run.path))
    assert not list(run.path.rglob("*.tmp"))


def test_killed_before_its_first_checkpoint_it_starts_over(tmp_path: Path) -> None:
    _train(Place(out=tmp_path / "whole"))
    run = RunFolder(tmp_path / "run")
    with _open(Place(out=run.path)):
        run.metrics_file.write_text('{"epoch": 1}\n')
    _train(Place(resume=run.path))
    assert not differences(outcome(run), outcome(RunFolder(tmp_path / "whole")))


def test_a_changed_setting_is_refused_and_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    _train(Place(out=run.path))
    before = run.config_file.read_bytes(), run.record_file.read_bytes(), outcome(run)
    changed = replace(CONFIG, optim=replace(CONFIG.optim, lr=0.5))
    with pytest.raises(ConfigError, match=r"was trained with optim\.lr = 0\.01, not 0\.5"):
        _train(Place(resume=run.path), changed)
    after = run.config_file.read_bytes(), run.record_file.read_bytes(), outcome(run)
    assert before[:2] == after[:2]
    assert not differences(before[2], after[2])


def test_more_epochs_may_be_asked_for(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    _train(Place(out=run.path))
    longer = replace(CONFIG, loop=LoopConfig(epochs=5, max_minutes=9.0))
    events = _train(Place(resume=run.path), longer)
    assert [event.epoch for event in events if isinstance(event, Evaluated)] == [4, 5]
    assert [row["epoch"] for row in run.metrics()] == [1, 2, 3, 4, 5]
    assert load_yaml(run.config_file)["loop"]["epochs"] == 5


def test_only_one_training_a_folder(tmp_path: Path) -> None:
    with _open(Place(out=tmp_path / "run")) as session:
        for place in (Place(resume=tmp_path / "run"), Place(out=tmp_path / "run", force=True)):
            with pytest.raises(RunFailed, match="Another process is training"), _open(place):
                pass
        assert session.folder.record()["status"] == "running"


def test_places_that_hold_no_run_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("x")
    refused: list[tuple[Place, type[DlError]]] = [
        (Place(resume=tmp_path / "nothing"), UsageFault),
        (Place(resume=tmp_path / "thesis"), UsageFault),
        (Place(out=tmp_path / "thesis"), UsageFault),
        (Place(out=tmp_path / "thesis", force=True), UsageFault),
        (Place(out=tmp_path / "thesis" / "a.tex" / "run"), RunFailed),
    ]
    for place, kind in refused:
        with pytest.raises(kind), _open(place):
            pass
    assert os.listdir(tmp_path / "thesis") == ["a.tex"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_refused_and_nothing_is_lost(damage: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    _train(Place(out=run.path), on_batch=_kill_self_at(6))
    data = bytearray(run.checkpoint().read_bytes())
    data[len(data) // 3] ^= 1
    damaged = {"cut": bytes(data[:999]), "flipped": bytes(data), "empty": b""}[damage]
    run.checkpoint().write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        _train(Place(resume=run.path))
    assert len(run.metrics()) == 1
    assert run.checkpoint().read_bytes() == damaged


def test_a_listener_that_fails_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, Saved):
            raise BrokenPipeError

    def train() -> None:
        session: Session
        with _open(Place(out=tmp_path / "run")) as session:
            optim, loop, compute = CONFIG.optim, CONFIG.loop, CONFIG.compute
            follow(session.events(Toy(), optim=optim, loop=loop, compute=compute), listener)

    with pytest.raises(BrokenPipeError):
        train()
    assert RunFolder(tmp_path / "run").record()["status"] == "failed"


def test_each_listener_hears_every_event_in_order() -> None:
    heard: list[tuple[int, Event]] = []
    events: list[Event] = [
        Finished(reason="done", epoch=1, step=n, train_s=0, rate=0) for n in (1, 2)
    ]
    end = follow(events, lambda e: heard.append((1, e)), lambda e: heard.append((2, e)))
    assert end == events[1]
    assert heard == [(1, events[0]), (2, events[0]), (1, events[1]), (2, events[1])]
    assert follow([]) is None


def test_the_record_is_json_that_anyone_reads(tmp_path: Path) -> None:
    _train(Place(out=tmp_path / "run"))
    text = (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert {"machine", "git", "seed", "threads"} - set(found) <= {"git"}
