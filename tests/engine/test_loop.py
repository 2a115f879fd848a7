"""The training loop: when it evaluates, saves and stops, and what one update does."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from dlcli.engine.distributed import World
from dlcli.engine.events import CheckpointDue, Evaluated, Event, Finished, TrainingStep
from dlcli.engine.loop import PROGRESS_EVERY_S, Criterion, Plan, Training
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.engine.step import Batch, Stepper, build_optimizer, learning_rate
from dlcli.engine.stopping import StopFlag
from dlcli.errors import RunFailed
from tests.engine.toy import (
    CPU,
    FEATURES,
    ITEMS,
    Toy,
    ToyNetwork,
    make_plan,
    make_run,
    outcome,
    session,
)

BATCHES = 4  # of 6 items, the last of 5


def _events(learner: Toy, *, plan: Plan, **training: Any) -> list[Event]:
    return list(Training(learner, plan=plan, **training).events())


def _evaluated(events: list[Event]) -> list[Evaluated]:
    return [event for event in events if isinstance(event, Evaluated)]


@pytest.mark.parametrize(
    ("loop", "steps"),
    [
        (LoopConfig(epochs=3), [4, 8, 12]),
        (LoopConfig(epochs=3, evaluate_every=2), [8, 12]),
        (LoopConfig(epochs=5, evaluate_every=9), [20]),
        (LoopConfig(epochs=2, evaluate_every=3, evaluate_unit="steps"), [3, 6, 8]),
        (LoopConfig(epochs=2, evaluate_every=4, evaluate_unit="steps"), [4, 8]),
        (LoopConfig(epochs=1, evaluate_every=1, evaluate_unit="steps"), [1, 2, 3, 4]),
        (LoopConfig(epochs=0), []),
    ],
)
def test_evaluates_when_asked_and_at_the_end(loop: LoopConfig, steps: list[int]) -> None:
    found = _evaluated(_events(Toy(), plan=make_plan(loop=loop)))
    assert [event.step for event in found] == steps


def test_train_loss_is_the_mean_since_the_last_evaluation() -> None:
    """At a learning rate that changes nothing, every epoch's mean is that of the data."""
    learner = Toy()
    plan = make_plan(optim=OptimConfig(lr=1e-30), loop=LoopConfig(epochs=2))
    found = _evaluated(_events(learner, plan=plan))
    for event in found:
        batches = learner.batches(epoch=event.epoch - 1, start=0, rank=0, world=1)
        with torch.no_grad():
            expected = sum(float(learner.network(*b.payload)["loss"]) for b in batches) / ITEMS
        assert event.metrics["train_loss"] == pytest.approx(expected, rel=1e-6)
        assert event.metrics["train_half"] == pytest.approx(expected / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("higher", "scores", "best"),
    [
        (False, [math.nan, 2.0, math.nan, -math.inf, 2.0, 1.5], [2, 6]),
        (True, [math.nan, 3.0, 2.0, math.inf, 3.0, 4.0], [2, 6]),
    ],
)
def test_the_best_checkpoint_is_chosen_by_what_should_fall_or_rise_and_is_a_number(
    higher: bool, scores: list[float], best: list[int]
) -> None:
    learner = Toy(validation=lambda epoch: scores[epoch - 1])
    plan = make_plan(loop=LoopConfig(epochs=len(scores)))
    plan = dataclasses.replace(plan, criterion=Criterion(higher_is_better=higher))
    training = Training(learner, plan=plan)
    due = [event for event in training.events() if isinstance(event, CheckpointDue)]
    assert [event.step // BATCHES for event in due if event.name == "best"] == best
    assert training.position.best == scores[-1]


def test_patience_counts_evaluations_without_a_better_loss() -> None:
    losses = [3.0, 2.0, 2.5, 1.9, 1.9, 2.0, 0.0]
    learner = Toy(validation=lambda epoch: losses[epoch - 1])
    end = _events(learner, plan=make_plan(loop=LoopConfig(epochs=7, patience=2)))[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.epoch) == ("early-stop", 6)


def test_patience_within_an_epoch_stops_within_it() -> None:
    loop = LoopConfig(epochs=3, patience=1, evaluate_every=1, evaluate_unit="steps")
    end = _events(Toy(validation=lambda _: 1.0), plan=make_plan(loop=loop))[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.step) == ("early-stop", 2)


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _minute_a_batch(clock: Clock) -> Callable[[int], None]:
    def on_batch(_number: int) -> None:
        clock.now += 60

    return on_batch


def test_max_minutes_ends_cleanly_and_can_be_gone_on_with() -> None:
    clock, loop = Clock(), LoopConfig(epochs=3, max_minutes=5.5, checkpoint_minutes=1000)
    training = Training(
        Toy(on_batch=_minute_a_batch(clock)), plan=make_plan(loop=loop), clock=clock
    )
    events = list(training.events())
    end, saved = events[-1], events[-2]
    assert isinstance(end, Finished)
    assert isinstance(saved, CheckpointDue)
    assert (end.reason, end.step, end.train_s) == ("max-minutes", 6, 360.0)
    assert (saved.name, saved.step) == ("last", 6)


def test_checkpoints_are_taken_within_an_epoch_after_some_minutes() -> None:
    clock, loop = Clock(), LoopConfig(epochs=2, checkpoint_minutes=1.5)
    events = _events(Toy(on_batch=_minute_a_batch(clock)), plan=make_plan(loop=loop), clock=clock)
    due = [e.step for e in events if isinstance(e, CheckpointDue) and e.name == "last"]
    assert due == [2, 4, 6, 8, 8]  # the last one says that the last evaluation is done


def test_progress_comes_a_few_times_a_second_and_adds_up() -> None:
    clock = Clock()

    def a_tenth(_number: int) -> None:
        clock.now += PROGRESS_EVERY_S * 0.6

    events = _events(Toy(on_batch=a_tenth), plan=make_plan(), clock=clock)
    told = [event for event in events if isinstance(event, TrainingStep)]
    assert [event.step for event in told] == [2, 5, 7, 9, 11]
    for event in told:
        assert event.total_steps == 12
        assert event.losses["half"] == pytest.approx(event.losses["loss"] / 2)
        assert event.remaining_s == pytest.approx((12 - event.step) * 0.12)
        assert event.rate == pytest.approx(6 / 0.12, rel=0.05)


def test_time_spent_by_listeners_and_evaluations_is_not_training_time() -> None:
    clock = Clock()

    def on_evaluate(_epoch: int) -> None:
        clock.now += 1000

    loop = LoopConfig(epochs=2, checkpoint_minutes=0.5)
    learner = Toy(on_batch=_minute_a_batch(clock), on_evaluate=on_evaluate)
    training = Training(learner, plan=make_plan(loop=loop), clock=clock)
    for _event in training.events():
        clock.now += 500
    assert training.position.train_s == pytest.approx(8 * 60)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_checkpoint(
    accumulate: int, tmp_path: Path
) -> None:
    run, learner = make_run(tmp_path / "run"), Toy()

    def poison(number: int) -> None:
        if number == 6:
            with torch.no_grad():
                learner.y.fill_(float("nan"))

    learner.on_batch = poison
    plan = make_plan(optim=OptimConfig(accumulate=accumulate))
    words = r"stopped being a finite number at update \d+ \(epoch 2\)"
    with pytest.raises(RunFailed, match=words) as failure:
        list(session(run, learner, plan=plan))
    assert "last good checkpoint was kept" in failure.value.hint
    state = outcome(run)
    assert state["last.pt"]["position"]["epoch"] == 0
    assert len(state["metrics"]) == 1
    assert all(torch.isfinite(w).all() for w in state["last.pt"]["model"].values())


def test_weights_that_are_no_numbers_are_never_saved() -> None:
    learner = Toy(dropout=0.5)
    learner.network.get_buffer("norm.running_mean").fill_(float("inf"))
    with pytest.raises(RunFailed, match="weights") as failure:
        _events(learner, plan=make_plan())
    assert "checkpoint" not in failure.value.hint, "there is none yet"


def test_a_stop_asked_for_while_saving_comes_before_the_evaluation() -> None:
    stop, learner = StopFlag(), Toy()
    events = []
    for event in Training(learner, plan=make_plan(), stop=stop).events():
        events.append(event)
        stop.requested |= isinstance(event, CheckpointDue)
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.step) == ("interrupted", BATCHES)
    assert learner.evaluations == []


@pytest.mark.parametrize("place", ["batch", "progress", "evaluation"])
def test_signals_are_held_back_while_training_but_not_while_evaluating(place: str) -> None:
    """Loading a batch and showing progress must not lose what was trained since the checkpoint."""
    stop, clock = StopFlag(), Clock()

    def reach(here: str) -> None:
        clock.now += 1.0
        if here == place and not stop.requested:
            os.kill(os.getpid(), signal.SIGTERM)

    learner = Toy(on_batch=lambda _n: reach("batch"), on_evaluate=lambda _e: reach("evaluation"))
    training = Training(learner, plan=make_plan(), stop=stop, clock=clock)
    torn = pytest.raises(KeyboardInterrupt) if place == "evaluation" else nullcontext()
    with stop.watching(), torn:
        for event in training.events():
            if isinstance(event, TrainingStep):
                reach("progress")
    assert stop.requested


def test_the_learning_rate_of_every_update_follows_the_schedule() -> None:
    optim = OptimConfig(lr=0.5, schedule="linear", warmup_steps=2, accumulate=3)
    learner, rates = Toy(), []
    plan = make_plan(optim=optim, loop=LoopConfig(epochs=3))
    training = Training(learner, plan=plan)
    update = training.stepper.update

    def watched(batches: list[Batch], *, step: int, total_steps: int) -> torch.Tensor:
        sums = update(batches, step=step, total_steps=total_steps)
        rates.append(training.stepper.lr)
        return sums

    training.stepper.update = watched  # type: ignore[method-assign, assignment]
    list(training.events())
    assert rates == [learning_rate(optim, step=i, total_steps=6) for i in range(6)]


def test_an_epoch_with_fewer_batches_than_promised_is_an_error() -> None:
    class Short(Toy):
        def batches(self, *, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
            whole = super().batches(epoch=epoch, start=start, rank=rank, world=world)
            return itertools.islice(whole, 3)

    with pytest.raises(RuntimeError, match="4 batches ended after 3"):
        _events(Short(), plan=make_plan())


Schedule = Literal["constant", "cosine", "linear"]


@pytest.mark.parametrize(
    ("config", "reference"),
    [
        (OptimConfig(lr=0.1), lambda p: torch.optim.Adam(p, 0.1)),
        (
            OptimConfig(lr=0.1, weight_decay=0.3),
            lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.3),
        ),
        (OptimConfig(optimizer="sgd", lr=0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (
            OptimConfig(optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0.3),
            lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.3),
        ),
    ],
)
def test_the_fused_optimisers_take_the_steps_of_the_plain_ones(
    config: OptimConfig, reference: Any
) -> None:
    start = torch.randn(3, 5, dtype=torch.float64)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    pairs = [(ours, build_optimizer(config, [ours])), (theirs, reference([theirs]))]
    for parameter, optimizer in pairs:
        for _ in range(5):
            optimizer.zero_grad()
            torch.autograd.backward((parameter**4).sum())
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(ours, start)


def _rates(config: OptimConfig, total: int) -> list[float]:
    return [learning_rate(config, step=step, total_steps=total) for step in range(total)]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_warm_up_rises_in_equal_steps_to_the_peak(schedule: Schedule) -> None:
    rates = _rates(OptimConfig(lr=1.0, schedule=schedule, warmup_steps=4), 12)
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert max(rates) == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_decays_fall_from_the_peak_to_just_above_the_end(schedule: Schedule, warmup: int) -> None:
    config = OptimConfig(lr=2.0, schedule=schedule, warmup_steps=warmup, final_lr=0.1)
    rates = _rates(config, 103)[warmup:]
    assert rates[0] == 2.0
    assert rates == sorted(rates, reverse=True)
    assert 0.2 < rates[-1] < 0.25
    assert learning_rate(config, step=103, total_steps=103) == pytest.approx(0.2)
    assert learning_rate(config, step=9999, total_steps=103) == pytest.approx(0.2)


@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_inverse_sqrt_falls_with_the_root_of_the_updates(warmup: int) -> None:
    config = OptimConfig(lr=2.0, schedule="inverse-sqrt", warmup_steps=warmup, final_lr=0.5)
    rates = _rates(config, 36)
    peak = max(1, warmup)
    assert rates[:peak] == [2.0 * (step + 1) / peak for step in range(peak)]
    assert rates[4 * peak - 1] == pytest.approx(1.0)
    assert rates[9 * peak - 1] == pytest.approx(2 / 3)


@pytest.mark.parametrize("total", [0, 1, 3])
def test_a_warm_up_longer_than_the_run_is_no_trouble(total: int) -> None:
    config = OptimConfig(lr=1.0, schedule="cosine", warmup_steps=10)
    rates = [learning_rate(config, step=step, total_steps=total) for step in range(12)]
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates)
    assert rates[2] == pytest.approx(0.3)


def _batch(rows: Tensor) -> Batch:
    payload = (rows[:, :FEATURES], rows[:, FEATURES:], torch.zeros_like(rows[:, :FEATURES]))
    return Batch(payload=payload, items=len(rows), weight=float(len(rows)))


def _step_rows(count: int) -> Tensor:
    return torch.randn(count, FEATURES + 1, dtype=torch.float64)


def _network(*, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(1)
    return ToyNetwork(dropout=dropout).double()


def _stepper(network: nn.Module, optim: OptimConfig, *, world: World | None = None) -> Stepper:
    return Stepper(network, optim=optim, compute=CPU, world=world or World(), seed=3)


SGD = OptimConfig(optimizer="sgd", lr=1.0)


def _moved(batches: Sequence[Batch], optim: OptimConfig) -> list[Tensor]:
    """Return how far one update moves each parameter."""
    network = _network()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    _stepper(network, optim).update(batches, step=0, total_steps=1)
    return [p.detach() - b for p, b in zip(network.parameters(), before, strict=True)]


def test_an_update_follows_the_gradient_of_the_mean_loss() -> None:
    rows, network = _step_rows(7), _network()
    loss = network(*_batch(rows).payload)["loss"] / 7
    expected = torch.autograd.grad(loss, list(network.parameters()))
    for moved, gradient in zip(_moved([_batch(rows)], SGD), expected, strict=True):
        torch.testing.assert_close(moved, -gradient)


@pytest.mark.parametrize("cuts", [[7, 7, 7], [5, 9, 7], [1, 20], [20, 1]])
def test_accumulated_batches_are_one_big_batch(cuts: list[int]) -> None:
    rows = _step_rows(21)
    parts = [_batch(part) for part in torch.split(rows, cuts)]
    for ours, whole in zip(_moved(parts, SGD), _moved([_batch(rows)], SGD), strict=True):
        torch.testing.assert_close(ours, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cuts", [[21], [5, 9, 7]])
def test_clipping_bounds_the_norm_of_the_whole_gradient(cuts: list[int]) -> None:
    parts = [_batch(part) for part in torch.split(100 * _step_rows(21), cuts)]
    free, clipped = _moved(parts, SGD), _moved(parts, replace(SGD, clip_norm=0.25))
    free_norm, norm = (torch.cat([t.flatten() for t in m]).norm() for m in (free, clipped))
    assert free_norm > 1
    assert norm.item() == pytest.approx(0.25, rel=1e-5)
    for a, b in zip(free, clipped, strict=True):
        torch.testing.assert_close(a / free_norm, b / norm)


def test_sums_are_of_everything_in_the_update() -> None:
    rows, network = _step_rows(12), _network()
    with torch.no_grad():
        expected = network(*_batch(rows).payload)
    stepper = _stepper(network, replace(SGD, lr=1e-30))
    sums = stepper.update([_batch(part) for part in torch.split(rows, 5)], step=0, total_steps=1)
    assert stepper.names == ["loss", "half"]
    assert sums.dtype == torch.float64
    assert sums.tolist() == pytest.approx([12.0, *(float(v) for v in expected.values())])


def test_dropout_depends_on_the_update_and_not_on_what_came_before() -> None:
    batch = _batch(_step_rows(50))

    def loss(step: int, *, rank: int = 0) -> float:
        stepper = _stepper(_network(dropout=0.5), SGD)
        stepper.world = World(rank=rank)
        torch.rand(torch.randint(1, 9, ()).item())  # type: ignore[arg-type]
        return float(stepper.update([batch], step=step, total_steps=9)[1])

    assert loss(4) == loss(4)
    assert len({loss(4), loss(5), loss(4, rank=1)}) == 3


def test_frozen_parameters_stay() -> None:
    network = _network()
    frozen = network.get_parameter("hidden.weight").requires_grad_(False)
    before = frozen.clone()
    stepper = _stepper(network, replace(SGD, clip_norm=1.0))
    stepper.update([_batch(_step_rows(5)), _batch(_step_rows(3))], step=0, total_steps=1)
    assert torch.equal(frozen, before)


def test_bf16_computes_in_bf16_and_keeps_weights_and_sums_exact() -> None:
    network = ToyNetwork()
    compute = replace(CPU, precision="bf16")
    stepper = Stepper(network, optim=SGD, compute=compute, world=World(), seed=3)
    products: list[torch.dtype] = []
    network.hidden.register_forward_hook(lambda _m, _i, out: products.append(out.dtype))
    rows = _step_rows(5).float()
    sums = stepper.update([_batch(rows)], step=0, total_steps=1)
    assert products == [torch.bfloat16]
    assert sums.dtype == torch.float64
    assert {p.dtype for p in network.parameters()} == {torch.float32}
