"""Exact resume: stopped, halted or killed anywhere, a run ends with the same bits."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.events import Finished
from dlcli.engine.loop import Plan
from dlcli.engine.runs import RunFolder
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.engine.stopping import StopFlag
from tests.engine.toy import Toy, differences, make_plan, make_run, outcome, session

BATCHES = 4  # of 6 items, the last of 5

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"loop": LoopConfig(epochs=3)},
    "accumulate": {
        "optim": OptimConfig(lr=0.01, accumulate=3, clip_norm=0.5),
        "loop": LoopConfig(epochs=3),
    },
    "dropout, cosine, warm-up": {
        "dropout": 0.4,
        "optim": OptimConfig(lr=0.02, schedule="cosine", warmup_steps=3, final_lr=0.1),
        "loop": LoopConfig(epochs=3, evaluate_every=2),
    },
    "sgd, every 3 steps": {
        "optim": OptimConfig(optimizer="sgd", lr=0.01, momentum=0.9, weight_decay=0.01),
        "loop": LoopConfig(epochs=3, evaluate_every=3, evaluate_unit="steps"),
    },
    "every epoch's last step": {
        "loop": LoopConfig(epochs=3, evaluate_every=BATCHES, evaluate_unit="steps"),
    },
    "snapshots": {"loop": LoopConfig(epochs=3), "keep_epochs": (0, 1, 3)},
    "stops early": {
        "loop": LoopConfig(epochs=5, patience=2, evaluate_every=2, evaluate_unit="steps"),
        "validation": float,
    },
}


class _Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests write hundreds of checkpoints, and none of them cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> dict[str, Any]:
    return VARIANTS[request.param]


def _learner(variant: dict[str, Any], **more: Any) -> Toy:
    """Make a learner whose weights are the same each time, as a run's seed makes them."""
    torch.manual_seed(5)
    return Toy(**{k: variant[k] for k in ("dropout", "validation") if k in variant}, **more)


def _stranger(variant: dict[str, Any]) -> Toy:
    """Make a learner with other weights in a process with other random states."""
    learner = _learner(variant)
    torch.manual_seed(torch.seed())
    for parameter in learner.network.parameters():
        torch.nn.init.normal_(parameter)
    return learner


def _plan(variant: dict[str, Any]) -> Plan:
    return make_plan(**{k: variant[k] for k in ("optim", "loop", "keep_epochs") if k in variant})


def _uninterrupted(variant: dict[str, Any], folder: Path) -> dict[str, Any]:
    run = make_run(folder)
    list(session(run, _learner(variant), plan=_plan(variant)))
    return outcome(run)


def _resume(variant: dict[str, Any], run: RunFolder) -> None:
    learner = _stranger(variant) if run.checkpoint().exists() else _learner(variant)
    end = list(session(run, learner, plan=_plan(variant)))[-1]
    assert isinstance(end, Finished)
    assert end.reason in ("done", "early-stop")


def _stop_at(batch: int, stop: StopFlag) -> Callable[[int], None]:
    def on_batch(number: int) -> None:
        stop.requested |= number == batch

    return on_batch


def test_stopped_at_any_update_and_resumed_ends_with_the_same_bits(
    variant: dict[str, Any], tmp_path: Path
) -> None:
    expected = _uninterrupted(variant, tmp_path / "whole")
    stopped = 0
    for batch in range(3 * BATCHES):
        run, stop = make_run(tmp_path / f"stopped-{batch}"), StopFlag()
        learner = _learner(variant, on_batch=_stop_at(batch, stop))
        end = list(session(run, learner, plan=_plan(variant), stop=stop))[-1]
        assert isinstance(end, Finished)
        stopped += end.reason == "interrupted"
        _resume(variant, run)
        assert not differences(outcome(run), expected), f"stopped at batch {batch}"
    assert stopped >= BATCHES


def test_stopped_at_every_single_update_ends_with_the_same_bits(
    variant: dict[str, Any], tmp_path: Path
) -> None:
    expected = _uninterrupted(variant, tmp_path / "whole")
    run, reason = make_run(tmp_path / "halting"), ""
    for sessions in itertools.count():
        stop = StopFlag()
        stop.requested = True
        learner = _stranger(variant) if sessions else _learner(variant)
        end = list(session(run, learner, plan=_plan(variant), stop=stop))[-1]
        assert isinstance(end, Finished)
        reason = end.reason
        if reason != "interrupted":
            break
    assert sessions >= expected["last.pt"]["position"]["step"] - 1
    assert not differences(outcome(run), expected)


def test_killed_after_any_event_ends_with_the_same_bits(
    variant: dict[str, Any], tmp_path: Path
) -> None:
    """A generator dropped after an event is a process killed there: only the disk remembers."""
    expected = _uninterrupted(variant, tmp_path / "whole")
    for n in itertools.count(1):
        run = make_run(tmp_path / f"killed-{n}")
        seen = itertools.islice(session(run, _learner(variant), plan=_plan(variant)), n)
        if len(list(seen)) < n:
            break
        _resume(variant, run)
        assert not differences(outcome(run), expected), f"killed after event {n}"


def test_killed_in_any_evaluation_ends_with_the_same_bits(
    variant: dict[str, Any], tmp_path: Path
) -> None:
    expected = _uninterrupted(variant, tmp_path / "whole")
    for n in range(len(expected["metrics"])):
        run, calls = make_run(tmp_path / f"killed-{n}"), itertools.count()

        def die(_epoch: int, n: int = n, calls: Iterator[int] = calls) -> None:
            if next(calls) == n:
                raise _Killed

        with pytest.raises(_Killed):
            list(session(run, _learner(variant, on_evaluate=die), plan=_plan(variant)))
        assert run.checkpoint().exists(), "a checkpoint comes before each evaluation"
        _resume(variant, run)
        assert not differences(outcome(run), expected), f"killed in evaluation {n}"


def test_a_finished_run_has_nothing_left_to_do(variant: dict[str, Any], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    list(session(run, _learner(variant), plan=_plan(variant)))
    before = run.checkpoint().read_bytes(), run.metrics_file.read_bytes()
    learner = _stranger(variant)
    events = list(session(run, learner, plan=_plan(variant)))
    assert [type(event) for event in events] == [Finished]
    assert learner.evaluations == []
    assert (run.checkpoint().read_bytes(), run.metrics_file.read_bytes()) == before
