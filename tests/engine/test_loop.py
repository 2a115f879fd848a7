"""The loop: when it evaluates, saves and stops, and what it says of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.engine.events import Evaluated, Event, Finished, Progress, StateDue
from dlcli.engine.loop import PROGRESS_EVERY_S, Batch, Criterion, Plan, Training, learning_rate
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.engine.stopping import StopFlag
from dlcli.errors import RunFailed
from tests.engine.toy import ITEMS, Toy, make_plan, make_run, outcome, session

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


def test_every_evaluation_follows_a_checkpoint_of_the_same_update() -> None:
    loop = LoopConfig(epochs=2, evaluate_every=3, evaluate_unit="steps")
    events = _events(Toy(), plan=make_plan(loop=loop, keep_epochs=(1,)))
    for before, event in itertools.pairwise(events):
        if isinstance(event, Evaluated):
            assert isinstance(before, StateDue)
            assert (before.name, before.step) == ("last", event.step)


def test_without_epochs_the_untrained_network_is_saved() -> None:
    events = _events(Toy(), plan=make_plan(loop=LoopConfig(epochs=0), keep_epochs=(0,)))
    assert [event.name for event in events if isinstance(event, StateDue)] == ["epoch-0000", "last"]
    assert events[-1] == Finished(reason="done", epoch=0, step=0, train_s=0.0, rate=0.0)


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


def test_the_best_checkpoint_is_chosen_by_validation_loss() -> None:
    losses = [3.0, 2.0, 2.5, 1.0, 4.0]
    learner = Toy(validation=lambda epoch: losses[epoch - 1])
    events = _events(learner, plan=make_plan(loop=LoopConfig(epochs=5)))
    best = [e.step // BATCHES for e in events if isinstance(e, StateDue) and e.name == "best"]
    assert best == [1, 2, 4]


def test_the_best_checkpoint_may_be_chosen_by_what_should_rise() -> None:
    scores = [float("nan"), 3.0, 2.0, 3.0, 4.0]
    learner = Toy(validation=lambda epoch: scores[epoch - 1])
    plan = make_plan(loop=LoopConfig(epochs=5))
    plan = dataclasses.replace(plan, criterion=Criterion(higher_is_better=True))
    training = Training(learner, plan=plan)
    events = list(training.events())
    best = [e.step // BATCHES for e in events if isinstance(e, StateDue) and e.name == "best"]
    assert best == [2, 5]
    assert training.position.best == 4.0


def test_a_metric_that_is_not_measured_chooses_nothing() -> None:
    plan = dataclasses.replace(make_plan(), criterion=Criterion(metric="valid_bleu"))
    events = _events(Toy(), plan=plan)
    assert not [e for e in events if isinstance(e, StateDue) and e.name == "best"]


def test_a_validation_loss_that_is_no_number_is_never_the_best() -> None:
    losses = [float("nan"), 2.0, float("nan"), 1.5]
    learner = Toy(validation=lambda epoch: losses[epoch - 1])
    training = Training(learner, plan=make_plan(loop=LoopConfig(epochs=4)))
    events = list(training.events())
    best = [e.step // BATCHES for e in events if isinstance(e, StateDue) and e.name == "best"]
    assert best == [2, 4]
    assert training.position.best == 1.5


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


def test_more_patience_goes_on_where_less_had_stopped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for patience, last in ((1, 2), (3, 4)):
        loop = LoopConfig(epochs=3, patience=patience, evaluate_every=1, evaluate_unit="steps")
        learner = Toy(validation=lambda _: 1.0)
        end = list(session(run, learner, plan=make_plan(loop=loop)))[-1]
        assert isinstance(end, Finished)
        assert (end.reason, end.step) == ("early-stop", last)


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
    assert isinstance(saved, StateDue)
    assert (end.reason, end.step, end.train_s) == ("max-minutes", 6, 360.0)
    assert (saved.name, saved.step) == ("last", 6)


def test_checkpoints_are_taken_within_an_epoch_after_some_minutes() -> None:
    clock, loop = Clock(), LoopConfig(epochs=2, checkpoint_minutes=1.5)
    events = _events(Toy(on_batch=_minute_a_batch(clock)), plan=make_plan(loop=loop), clock=clock)
    due = [e.step for e in events if isinstance(e, StateDue) and e.name == "last"]
    assert due == [2, 4, 6, 8, 8]  # the last one says that the last evaluation is done


def test_progress_comes_a_few_times_a_second_and_adds_up() -> None:
    clock = Clock()

    def a_tenth(_number: int) -> None:
        clock.now += PROGRESS_EVERY_S * 0.6

    events = _events(Toy(on_batch=a_tenth), plan=make_plan(), clock=clock)
    told = [event for event in events if isinstance(event, Progress)]
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


def test_a_huge_learning_rate_is_a_clear_failure(tmp_path: Path) -> None:
    plan = make_plan(optim=OptimConfig(optimizer="sgd", lr=1e6), loop=LoopConfig(epochs=50))
    with pytest.raises(RunFailed, match="finite") as failure:
        list(session(make_run(tmp_path / "run"), Toy(), plan=plan))
    assert "--lr" in failure.value.hint


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
        stop.requested |= isinstance(event, StateDue)
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.step) == ("interrupted", BATCHES)
    assert learner.evaluations == []


def test_signals_are_held_back_while_training_but_not_while_evaluating() -> None:
    """Loading a batch and showing progress must not lose what was trained since the checkpoint."""
    stop, held = StopFlag(), []
    clock = Clock()

    def on_batch(_number: int) -> None:
        clock.now += 1.0
        held.append(("batch", stop.is_deferring))

    learner = Toy(
        on_batch=on_batch, on_evaluate=lambda _e: held.append(("evaluation", stop.is_deferring))
    )
    for event in Training(learner, plan=make_plan(), stop=stop, clock=clock).events():
        if isinstance(event, Progress):
            held.append(("progress", stop.is_deferring))
    assert set(held) == {("batch", True), ("progress", True), ("evaluation", False)}


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
