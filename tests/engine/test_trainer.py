"""The trainer: from settings to a recorded result, once, over seeds, and over a grid."""

from __future__ import annotations

import errno
import fcntl
import math
import os
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.checkpoint import load_model, save_checkpoint
from dlcli.engine.config import merge, resolve, to_dict
from dlcli.engine.distributed import PeerLost
from dlcli.engine.events import Event, Notice, RunStarted, Saved
from dlcli.engine.results import summarise_seeds
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import RunLocation
from dlcli.engine.settings import seeds_of
from dlcli.engine.trainer import (
    Listener,
    folder_name,
    is_out_of_memory,
    train,
    train_all,
    train_once,
)
from dlcli.errors import CheckpointError, ConfigError, Interrupted, RunFailed, UsageFault
from tests.engine.toy import ToyConfig, ToyResult, ToyTask


def _config(**given: Any) -> ToyConfig:
    return resolve(ToyConfig, [merge(to_dict(ToyConfig()), given)])


def _train(
    location: RunLocation,
    *,
    init_from: str | None = None,
    toy: dict[str, Any] | None = None,
    **given: Any,
) -> tuple[ToyResult, list[Event]]:
    """Train a toy to the end; return the result and what happened."""
    heard: list[Event] = []

    def trained(config: ToyConfig, **rest: Any) -> Generator[Event, None, ToyResult | None]:
        return train(ToyTask(**(toy or {})), config, **rest)

    result = train_once(
        _config(**given),
        train=trained,
        location=location,
        init_from=init_from,
        listeners=[heard.append],
    )
    assert result is not None
    return result, heard


def test_a_training_leaves_its_result_in_the_record(tmp_path: Path) -> None:
    result, heard = _train(RunLocation(out=tmp_path / "run"))
    record = RunFolder(tmp_path / "run").record()
    assert record["status"] == "done"
    assert ToyTask().read_result(record["result"]) == result
    assert (record["signature"], record["metrics"]) == (result.signature, {"loss": result.loss})
    assert [event.message for event in heard if isinstance(event, Notice)] == ["These are toys."]
    assert result.per_s > 0


def test_auto_is_saved_as_the_data_set_it_was_and_means_it_when_resumed(tmp_path: Path) -> None:
    result, _ = _train(RunLocation(out=tmp_path / "a"))
    assert load_model(RunFolder(tmp_path / "a"), kind="toy").config["data"] == {"name": "blots"}
    assert _train(RunLocation(resume=tmp_path / "a"))[0] == result
    with pytest.raises(ConfigError, match=r"trained with data\.name = blots, not other"):
        _train(RunLocation(resume=tmp_path / "a"), data={"name": "other"})


def test_a_finished_run_gives_its_result_again_and_a_longer_one_is_resumed(tmp_path: Path) -> None:
    first, _ = _train(RunLocation(out=tmp_path / "run"))
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = RunLocation(resume=tmp_path / "moved")
    again, heard = _train(moved)
    assert again == replace(first, run=str(tmp_path / "moved"))
    (notice,) = heard
    assert isinstance(notice, Notice)
    assert f"moved is finished, {first.epochs} epochs" in notice.message
    longer, heard = _train(moved, loop={"epochs": 4})
    assert longer.epochs == 4
    assert next(event.step for event in heard if isinstance(event, RunStarted)) == 12
    with pytest.raises(ConfigError, match=r"model\.hidden = 5, not 7"):
        _train(moved, model={"hidden": 7})


def test_one_that_stopped_early_is_finished_unless_its_patience_changes(tmp_path: Path) -> None:
    given: dict[str, Any] = {"toy": {"validation": lambda _: 1.0}}
    first, _ = _train(RunLocation(out=tmp_path / "run"), loop={"epochs": 9, "patience": 1}, **given)
    assert (first.reason, first.epochs) == ("early-stop", 2)
    resumed = RunLocation(resume=tmp_path / "run")
    again, heard = _train(resumed, loop={"epochs": 9, "patience": 1}, **given)
    assert again == first
    assert not any(isinstance(event, RunStarted) for event in heard)
    more, _ = _train(resumed, loop={"epochs": 9, "patience": 2}, **given)
    assert more.epochs == 3


def test_a_stopped_training_says_how_to_resume_it(tmp_path: Path) -> None:
    def interrupt(batch: int) -> None:
        if batch == 5:
            raise KeyboardInterrupt

    run = RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted) as stopped:
        _train(RunLocation(out=run.path), toy={"on_batch": interrupt})
    assert f"--resume {run.path}" in stopped.value.hint
    assert run.record()["status"] == "interrupted"
    (run.checkpoints / ".last.pt.ab12.tmp").write_bytes(b"half, by a process that was killed")
    result, _ = _train(RunLocation(resume=run.path))
    assert not list(run.path.rglob("*.tmp"))
    whole, _ = _train(RunLocation(out=tmp_path / "whole"))
    assert result.loss == whole.loss


def test_a_listener_that_fails_ends_the_run_which_says_so(tmp_path: Path) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, Saved):
            raise ValueError("a listener's own fault")

    with pytest.raises(ValueError, match="own fault"):
        train_once(
            ToyConfig(),
            train=lambda config, **rest: train(ToyTask(), config, **rest),
            location=RunLocation(out=tmp_path / "run"),
            listeners=[fail],
        )
    run = RunFolder(tmp_path / "run")
    assert (run.status, run.record()["error"]) == ("failed", "a listener's own fault")
    assert not run.is_in_use


def test_a_file_system_without_locks_is_trained_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: object, _operation: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    _, heard = _train(RunLocation(out=tmp_path / "run"))
    warnings = [event for event in heard if isinstance(event, Notice) and event.level == "warning"]
    assert "has no locks" in warnings[0].message


def test_a_training_that_ran_out_of_time_has_a_result(tmp_path: Path) -> None:
    result, _ = _train(RunLocation(out=tmp_path / "run"), loop={"max_minutes": 1e-9})
    assert (result.reason, RunFolder(tmp_path / "run").record()["status"]) == (
        "max-minutes",
        "stopped",
    )


def _weights(run: Path) -> dict[str, Any]:
    return dict(load_model(RunFolder(run), kind="toy", checkpoint="last").weights)


def test_weights_of_another_run_are_started_from_also_when_it_was_killed(tmp_path: Path) -> None:
    _train(RunLocation(out=tmp_path / "a"))
    none = {"epochs": 0}
    _train(RunLocation(out=tmp_path / "b"), init_from=str(tmp_path / "a"), loop=none)
    RunFolder(tmp_path / "b").checkpoint().unlink()  # as if it had been killed before the first
    RunFolder(tmp_path / "b").update_record(status="running")
    _train(RunLocation(resume=tmp_path / "b"), loop=none)
    assert RunFolder(tmp_path / "b").origin == "a"
    for name, weight in _weights(tmp_path / "b").items():
        assert torch.equal(weight, _weights(tmp_path / "a")[name])


def test_weights_that_do_not_fit_are_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    _train(RunLocation(out=tmp_path / "a"), model={"hidden": 7})
    into = RunLocation(out=tmp_path / "b")
    with pytest.raises(ConfigError, match="of another network") as refused:
        _train(into, init_from=str(tmp_path / "a"))
    assert refused.value.hint == "Add --hidden 7."
    run = RunFolder(tmp_path / "a")
    save_checkpoint(run.checkpoint("best"), {"config": {}, "model": {}}, kind="toy")
    with pytest.raises(CheckpointError, match="not those of this network") as damaged:
        _train(into, init_from=str(tmp_path / "a"))
    assert damaged.value.hint == ToyTask.weights_hint
    run.update_record(kind="vae")
    with pytest.raises(UsageFault, match="is a run of kind vae"):
        _train(into, init_from=str(tmp_path / "a"))
    assert not (tmp_path / "b").exists()


def test_settings_are_checked_first_and_told_whether_there_are_weights(tmp_path: Path) -> None:
    bad: dict[str, Any] = {"model": {"hidden": -1}}
    for location, source, untrained in (
        (RunLocation(out=tmp_path / "run"), None, True),
        (RunLocation(out=tmp_path / "run"), "nowhere", False),
    ):
        with pytest.raises(ConfigError, match=f"untrained: {untrained}"):
            _train(location, init_from=source, **bad)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (MemoryError(), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_an_exhausted_memory_is_a_sentence_that_names_the_batch_size(
    error: Exception, is_memory: bool, tmp_path: Path
) -> None:
    assert is_out_of_memory(error) is is_memory

    def fail(_batch: int) -> None:
        raise error

    with pytest.raises(RunFailed if is_memory else type(error)) as failed:
        _train(RunLocation(out=tmp_path / "run"), toy={"on_batch": fail})
    if isinstance(failed.value, RunFailed):
        assert "does not fit into the memory of cpu" in failed.value.message
        assert "--batch-size 64" in failed.value.hint


Script = Callable[[ToyConfig, RunLocation], None]


class Scripted:
    """Trains nothing; runs a script in the place of a training."""

    def __init__(self, script: Script = lambda config, location: None) -> None:
        self.script = script
        self.locations: list[RunLocation] = []

    def __call__(
        self,
        config: ToyConfig,
        *,
        location: RunLocation | None = None,
        init_from: str | None = None,
    ) -> Generator[Event, None, ToyResult]:
        assert location is not None
        self.locations.append(location)
        run = location.out or location.resume
        assert run is not None
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.yaml").write_text("x: 1\n")
        yield RunStarted(
            run=run, title="t", data="d", epochs=1, steps_per_epoch=1, step=0, unit="images"
        )
        self.script(config, location)
        return _result(run, seed=config.compute.seed)


def _result(run: Path, *, seed: int) -> ToyResult:
    return ToyResult(
        run=str(run),
        data="blots",
        epochs=2,
        train_s=1.0,
        reason="done",
        signature=f"data:blots|seed:{seed}|version:x",
        loss=100.0 + seed,
        per_s=1000.0 + seed,
    )


def _failing(failure: Callable[[int], Exception | None]) -> Scripted:
    def script(config: ToyConfig, location: RunLocation) -> None:
        error = failure(config.compute.seed)
        if error is not None:
            raise error

    return Scripted(script)


def _train_all(
    scripted: Scripted, path: Path | None, *, seeds: int = 3, tolerant: bool = False, **more: Any
) -> dict[str, ToyResult]:
    cells = seeds_of(_config(compute={"seed": 0}), seeds)
    location = more.pop("location", RunLocation(out=path))
    return train_all(cells, train=scripted, location=location, title="t", tolerant=tolerant, **more)


def test_an_interrupt_anywhere_says_how_to_go_on(tmp_path: Path) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    def early(*_args: object, **_given: object) -> Generator[Event, None, None]:
        raise KeyboardInterrupt
        yield

    location = RunLocation(out=tmp_path / "a")
    cases: list[tuple[Any, list[Listener], str]] = [
        (Scripted(interrupt), [], str(tmp_path / "a")),
        (Scripted(), [interrupt], str(tmp_path / "a")),
        (early, [], "Start it again"),
    ]
    for trained, listeners, hint in cases:
        with pytest.raises(Interrupted) as stopped:
            train_once(ToyConfig(), train=trained, location=location, listeners=listeners)
        assert hint in stopped.value.hint


def test_each_cell_gets_a_folder_and_goes_on_where_it_has_begun(tmp_path: Path) -> None:
    scripted = Scripted()
    base = tmp_path / "s"
    _train_all(scripted, None, seeds=2, location=RunLocation(out=base, force=True))
    _train_all(scripted, None, seeds=3, location=RunLocation(resume=base))
    first, second, third = (base / f"seed-{seed}" for seed in range(3))
    assert scripted.locations == [
        RunLocation(out=first, force=True),
        RunLocation(out=second, force=True),
        RunLocation(resume=first),
        RunLocation(resume=second),
        RunLocation(out=third),
    ]


def test_without_a_name_a_new_folder_under_runs_holds_them(tmp_path: Path) -> None:
    scripted = Scripted()
    for _ in range(2):
        _train_all(scripted, None, seeds=1)
    first, second = scripted.locations
    assert first.out != second.out
    assert str(first.out).startswith(str(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("optim.lr=1.0e-3 loop.epochs=2", "optim.lr=1.0e-3_loop.epochs=2"),
        ("data.name=a/b", "data.name=a_b"),
        ("", "cell"),
    ],
)
def test_labels_become_names_of_folders(label: str, name: str) -> None:
    assert folder_name(label) == name


def test_a_failed_seed_fails_all_and_a_failed_cell_of_a_grid_does_not(tmp_path: Path) -> None:
    scripted = _failing(lambda seed: RunFailed("No.", hint="h") if seed == 1 else None)
    heard: list[Event] = []
    with pytest.raises(RunFailed, match=r"seed-1: No\."):
        _train_all(scripted, tmp_path / "a")
    found = _train_all(scripted, tmp_path / "b", tolerant=True, listeners=[heard.append])
    assert list(found) == ["seed-0", "seed-2"]
    warnings = [event for event in heard if isinstance(event, Notice)]
    assert [(event.message, event.level) for event in warnings] == [("seed-1: No.", "warning")]


def test_where_every_cell_fails_or_another_process_is_lost_so_does_the_grid(
    tmp_path: Path,
) -> None:
    with pytest.raises(RunFailed, match=r"seed-2: No\."):
        _train_all(_failing(lambda _: RunFailed("No.")), tmp_path / "a", tolerant=True)
    lost = _failing(lambda _: PeerLost("Gone."))
    with pytest.raises(RunFailed, match=r"seed-0: Gone\."):
        _train_all(lost, tmp_path / "b", tolerant=True)
    assert len(lost.locations) == 1


def test_stopped_in_the_middle_it_says_how_to_go_on_with_all(tmp_path: Path) -> None:
    scripted = _failing(lambda seed: Interrupted("Stopped.") if seed == 1 else None)
    with pytest.raises(Interrupted, match=r"seed-1: Stopped\.") as stopped:
        _train_all(scripted, tmp_path / "s")
    assert f"--resume {tmp_path / 's'}" in stopped.value.hint


def test_a_summary_has_means_deviations_and_every_run(tmp_path: Path) -> None:
    results = {f"seed-{n}": _result(tmp_path / f"seed-{n}", seed=n) for n in (0, 2)}
    found = summarise_seeds(results, shared=["data"], rate="per_s", measured="test", names=["loss"])
    assert found["run"] == str(tmp_path)
    assert (found["seeds"], found["data"], found["per_s"]) == (2, "blots", 1001.0)
    assert (found["test"], found["test_std"]) == (
        {"loss": 101.0},
        {"loss": pytest.approx(math.sqrt(2))},
    )
    assert found["signature"] == "data:blots|seed:0,2|version:x"
