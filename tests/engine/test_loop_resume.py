"""Exact resume: stopped, halted or killed anywhere, a run ends with the same bits."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlcli.engine.distributed import World
from dlcli.engine.events import Finished
from dlcli.engine.loop import Plan, Position
from dlcli.engine.runs import RunFolder
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.engine.stopping import StopFlag
from dlcli.errors import CheckpointError
from tests.engine.toy import Toy, ToyNetwork, differences, make_plan, make_run, outcome, session

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


def _trained_network() -> tuple[nn.Module, torch.optim.Optimizer]:
    network = ToyNetwork(dropout=0.5)
    optimizer = torch.optim.Adam(network.parameters(), 0.1, fused=True)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.randn(5, 3), torch.randn(5, 1), torch.zeros(5, 3))["loss"].backward()
        optimizer.step()
    return network, optimizer


def _position_state() -> dict[str, Any]:
    network, optimizer = _trained_network()
    at = Position(
        epoch=3,
        batch=2,
        step=14,
        train_s=1.5,
        best=0.25,
        stale=1,
        evaluated=12,
        names=["loss", "half"],
        sums=torch.tensor([12.0, 3.0, 1.5], dtype=torch.float64),
    )
    return at.state(network=network, optimizer=optimizer, world=World())


def _restore(state: dict[str, Any], network: nn.Module | None = None) -> Any:
    network = network or ToyNetwork(dropout=0.5)
    optimizer = torch.optim.Adam(network.parameters(), 0.9, fused=True)
    at = Position.restore(state, network=network, optimizer=optimizer, world=World())
    return at.state(network=network, optimizer=optimizer, world=World())


def test_what_is_restored_is_what_was_there() -> None:
    state = _position_state()
    random.seed(99)
    torch.manual_seed(99)
    assert not differences(_restore(state), state)


@pytest.mark.parametrize("key", ["model", "optimizer", "position", "random"])
def test_a_checkpoint_that_lacks_something_is_refused(key: str) -> None:
    state = _position_state()
    del state[key]
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(state)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", {}),
        ("model", {"hidden.weight": torch.zeros(2)}),
        ("model", 5),
        ("optimizer", {}),
        ("optimizer", {"state": {}, "param_groups": []}),
        ("optimizer", "x"),
        ("position", {"epoch": 1, "colour": "red"}),
        ("position", {"sums": "x"}),
        ("position", None),
        ("random", {}),
        ("random", {"python": [3, torch.zeros(2), None]}),
        ("random", {"python": 5}),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(key: str, value: object) -> None:
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(_position_state() | {key: value})


def test_a_checkpoint_of_another_network_is_refused() -> None:
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(_position_state(), nn.Linear(3, 5))
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(_position_state(), ToyNetwork())


def test_another_number_of_processes_shares_the_sums_out() -> None:
    """Two processes saved; one goes on with all they had summed."""
    state = _position_state()
    state["position"]["sums"] = torch.tensor([[6.0, 2.0, 1.0], [5.0, 4.0, 2.0]])
    assert _restore(state)["position"]["sums"].tolist() == [[11.0, 6.0, 3.0]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("epoch", "3"), ("batch", None), ("step", [14]), ("stale", 0.5), ("evaluated", -7)],
        *[("train_s", "1"), ("train_s", -1.0), ("best", [0.5]), ("names", "ab"), ("names", ["a"])],
        *[("sums", [1.0]), ("sums", torch.ones(1, 7))],
    ],
)
def test_a_position_that_cannot_be_is_refused(name: str, value: object) -> None:
    state = _position_state()
    state["position"][name] = value
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(state)


def test_settings_of_the_optimiser_are_the_configurations_but_for_the_rate() -> None:
    state = _position_state()
    state["optimizer"]["param_groups"][0] |= {"betas": "fast", "eps": None, "weight_decay": 9}
    network = ToyNetwork(dropout=0.5)
    optimizer = torch.optim.Adam(network.parameters(), 0.9, fused=True)
    Position.restore(state, network=network, optimizer=optimizer, world=World())
    group = optimizer.param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0)
    assert group["lr"] == 0.1
    state["optimizer"]["param_groups"][0]["lr"] = "quick"
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(state)


@pytest.mark.parametrize("change", ["shape", "lost"])
def test_means_of_other_weights_are_refused(change: str) -> None:
    state = _position_state()
    means = state["optimizer"]["state"][0]
    if change == "shape":
        means["exp_avg"] = torch.zeros(2, 2, 2)
    else:
        del means["exp_avg"]
    with pytest.raises(CheckpointError, match="does not fit"):
        _restore(state)
