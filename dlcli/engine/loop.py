"""The one training loop: a generator of events that knows no model and neither prints nor saves.

It yields `CheckpointDue` where a checkpoint belongs, and does so before it evaluates, so that an
interrupted evaluation is simply done again. Everything random in an update is seeded from
(seed, step), never from what came before: a run stopped at any update and resumed takes the same
steps, bit by bit, on the same number of CPU threads.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dlcli.engine.device import Compute
from dlcli.engine.distributed import World
from dlcli.engine.events import CheckpointDue, Evaluated, Event, Finished, TrainingStep
from dlcli.engine.seed import random_states, restore_random_states
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.engine.step import Batch, Stepper
from dlcli.engine.stopping import StopFlag
from dlcli.errors import CheckpointError, RunFailed

PROGRESS_EVERY_S = 0.2
GPU_LOOK_EVERY = 32  # reading a number from a GPU waits for all its work, so look only so often


class Learner(Protocol):
    """A network, its data and its evaluation."""

    network: nn.Module
    """`forward(*payload)` returns this process's sums: `loss`, which is minimised, and parts."""
    unit: str
    """What `Batch.items` counts, such as `images`."""

    def steps_per_epoch(self) -> int:
        """Return the number of batches in an epoch."""
        ...

    def batches(self, *, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield this process's part of each global batch of an epoch (from 0), from `start` on."""
        ...

    def evaluate(self, *, epoch: int) -> Mapping[str, object]:
        """Measure after `epoch` epochs; the best checkpoint is chosen by one of the numbers."""
        ...


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """What of an evaluation the best checkpoint is chosen by; without it none is kept as best."""

    metric: str = "valid_loss"
    higher_is_better: bool = False

    def improves(self, value: float, *, best: float | None) -> bool:
        """Say whether `value` is a number and better than the best so far."""
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        return value > best if self.higher_is_better else value < best


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a training needs beside its learner."""

    optim: OptimConfig
    loop: LoopConfig
    compute: Compute
    seed: int
    world: World = field(default_factory=World)
    compiled: bool = False
    criterion: Criterion = field(default_factory=Criterion)
    keep_epochs: tuple[int, ...] = ()
    """Epochs after which a checkpoint is kept under its own name; 0 is before any training."""


class Training:
    """One training in progress: `for event in Training(learner, plan=plan).events(): …`.

    Args:
        learner: what is trained; its network is already on the device.
        plan: the settings.
        stop: set by signals.
        state: the content of a checkpoint to go on from, or None.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        plan: Plan,
        stop: StopFlag | None = None,
        state: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.learner, self.plan, self.clock = learner, plan, clock
        self.stop = stop or StopFlag()
        self.stepper = Stepper(
            learner.network,
            optim=plan.optim,
            compute=plan.compute,
            world=plan.world,
            seed=plan.seed,
            compiled=plan.compiled,
        )
        self.position = Position()
        if state is not None:
            self.position = Position.restore(
                state, network=learner.network, optimizer=self.stepper.optimizer, world=plan.world
            )
        self.batches = learner.steps_per_epoch()
        self.updates_per_epoch = -(-self.batches // plan.optim.accumulate)
        self.total_steps = self.updates_per_epoch * plan.loop.epochs
        self._items = self._updates = 0
        self._kept = state is not None
        self._session_s = 0.0
        self._tick = self._began = self._saved_at = self._shown_at = clock()

    def events(self) -> Iterator[Event]:
        """Train to the end or to a stop, yielding what happens; `Finished` comes last."""
        at, plan = self.position, self.plan
        if at.step == 0 and 0 in plan.keep_epochs:
            yield self._checkpoint("epoch-0000")
        reason = "early-stop" if self._is_stale() else ""
        nothing_left = bool(reason) or at.epoch >= plan.loop.epochs
        while not reason and at.epoch < plan.loop.epochs:
            reason = yield from self._epoch()
        if reason in ("", "early-stop") and not (nothing_left and at.step):
            yield self._checkpoint("last")
        yield Finished(
            reason=reason or "done",
            epoch=at.epoch,
            step=at.step,
            train_s=at.train_s,
            rate=self.rate,
        )

    @property
    def rate(self) -> float:
        """Items of all processes a second of training time in this session."""
        return self._items * self.plan.world.size / self._session_s if self._session_s else 0.0

    def _epoch(self) -> Generator[Event, None, str]:
        """Finish the current epoch; return why to stop, or an empty string.

        Each evaluation comes right after a checkpoint that says it is pending.
        """
        at, world, number = self.position, self.plan.world, self.position.epoch + 1
        source = self.learner.batches(
            epoch=at.epoch, start=at.batch, rank=world.rank, world=world.size
        )
        while True:
            if self._evaluation_due():
                yield from self._evaluate(epoch=number)
                if self._is_stale() and at.batch < self.batches:
                    return "early-stop"
            if at.batch >= self.batches:
                break
            reason = yield from self._steps(source)
            if at.batch >= self.batches and number in self.plan.keep_epochs:
                yield self._checkpoint(f"epoch-{number:04d}")
            yield self._checkpoint("last")
            if reason or self._agree(stop=self.stop.requested)[0]:
                return reason or "interrupted"
        at.epoch, at.batch = number, 0
        return "early-stop" if self._is_stale() else ""

    def _steps(self, source: Iterator[Batch]) -> Generator[Event, None, str]:
        """Take updates up to the next evaluation or the epoch's end; return why to stop, or ""."""
        at = self.position
        self.learner.network.train()
        self._tick = self.clock()
        with self.stop.deferring():
            while group := list(itertools.islice(source, self.plan.optim.accumulate)):
                self._update(group)
                over = at.batch >= self.batches or self._evaluation_due()
                stop, save, spent = self._votes(certain=over)
                if over or stop or spent:
                    self._pause()
                    return "interrupted" if stop else "max-minutes" if spent else ""
                if save:
                    yield from self._paused(self._checkpoint("last"))
                if self.clock() - self._shown_at > PROGRESS_EVERY_S:
                    yield from self._paused(self._progress())
        raise RuntimeError(f"an epoch of {self.batches} batches ended after {at.batch}")

    def _paused(self, event: Event) -> Generator[Event, None, None]:
        """Yield an event without counting the listener's time as training."""
        self._pause()
        yield event
        self._tick = self.clock()

    def _pause(self) -> None:
        spent = self.clock() - self._tick
        self._session_s += spent
        self.position.train_s += spent
        self._tick += spent

    def _update(self, group: list[Batch]) -> None:
        at = self.position
        sums = self.stepper.update(group, step=at.step, total_steps=self.total_steps)
        at.sums = sums if at.sums is None else at.sums.add_(sums)
        at.names = self.stepper.names
        at.step += 1
        at.batch += len(group)
        self._updates += 1
        self._items += sum(batch.items for batch in group)

    def _votes(self, *, certain: bool) -> list[bool]:
        """Agree with the other processes whether to stop, to save, and whether time is spent.

        Raises:
            RunFailed: in every process, when the loss of any is no longer a number; nothing of
                such an update is saved.
        """
        on_gpu = self.plan.compute.device.type != "cpu"
        looks = certain or not on_gpu or self.position.step % GPU_LOOK_EVERY == 0
        if not looks and self.plan.world.size > 1:
            return [False, False, False]
        assert self.position.sums is not None
        now, loop = self.clock(), self.plan.loop
        *votes, broken = self._agree(
            stop=self.stop.requested,
            save=now - self._saved_at > loop.checkpoint_minutes * 60,
            spent=0 < loop.max_minutes * 60 < now - self._began,
            broken=looks and not math.isfinite(self.position.sums[1].item()),
        )
        if broken:
            raise RunFailed(
                f"The loss stopped being a finite number at update {self.position.step} "
                f"(epoch {self.position.epoch + 1}).",
                hint=self._advice(),
            )
        return votes

    def _agree(self, **flags: bool) -> list[bool]:
        return self.plan.world.agree(list(flags.values()), device=self.plan.compute.device)

    def _is_stale(self) -> bool:
        patience = self.plan.loop.patience
        return bool(patience) and self.position.stale >= patience

    def _evaluation_due(self) -> bool:
        loop, at = self.plan.loop, self.position
        ended, number = at.batch >= self.batches, at.epoch + 1
        if at.evaluated == at.step:
            return False
        if ended and number == loop.epochs:
            return True
        if loop.evaluate_unit == "steps":
            return at.step > 0 and at.step % loop.evaluate_every == 0
        return ended and number % loop.evaluate_every == 0

    def _evaluate(self, *, epoch: int) -> Generator[Event, None, None]:
        """Measure, yield the result, and keep the best by the plan's criterion."""
        at = self.position
        means = self._means()
        found: Mapping[str, object] = {}
        if self.plan.world.is_main:
            self.learner.network.eval()
            found = self.learner.evaluate(epoch=epoch)
        criterion = self.plan.criterion
        value = self.plan.world.share(found.get(criterion.metric))
        at.sums, at.evaluated = None, at.step
        yield Evaluated(
            epoch=epoch,
            step=at.step,
            metrics={
                **{f"train_{name}": value for name, value in means.items()},
                **found,
                "lr": self.stepper.lr,
                "rate": self.rate,
                "train_s": at.train_s,
            },
        )
        if isinstance(value, float):
            improved = criterion.improves(value, best=at.best)
            at.best, at.stale = (value, 0) if improved else (at.best, at.stale + 1)
            if improved:
                yield self._checkpoint("best")

    def _means(self) -> dict[str, float]:
        if self.position.sums is None:
            return {}
        totals = self.plan.world.gather(self.position.sums).sum(0).tolist()
        return {
            name: total / totals[0]
            for name, total in zip(self.position.names, totals[1:], strict=True)
        }

    def _progress(self) -> TrainingStep:
        self._pause()
        self._shown_at = self.clock()
        sums = self.position.sums
        values: list[float] = [] if sums is None else (sums[1:] / sums[0]).tolist()
        left = self.total_steps - self.position.step
        return TrainingStep(
            epoch=self.position.epoch + 1,
            step=self.position.step,
            total_steps=self.total_steps,
            losses=dict(zip(self.position.names, values, strict=True)),
            rate=self.rate,
            lr=self.stepper.lr,
            remaining_s=left * self._session_s / self._updates if self._updates else None,
        )

    def _checkpoint(self, name: str) -> CheckpointDue:
        """Describe a checkpoint; refuse to describe weights that are not finite."""
        self._saved_at = self.clock()
        for tensor in self.learner.network.state_dict().values():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise RunFailed(
                    f"The weights stopped being finite by update {self.position.step}.",
                    hint=self._advice(),
                )
        state = self.position.state(
            network=self.learner.network, optimizer=self.stepper.optimizer, world=self.plan.world
        )
        self._kept = self._kept or name == "last"
        return CheckpointDue(name=name, step=self.position.step, state=state)

    def _advice(self) -> str:
        advice = "Lower --lr or set --clip-norm 1"
        return f"{advice}; the last good checkpoint was kept." if self._kept else f"{advice}."


@dataclass(kw_only=True)
class Position:
    """Progress of one training."""

    epoch: int = 0
    """Epochs that are done, their evaluation included."""
    batch: int = 0
    """Batches of the current epoch that are done; all of them: its evaluation is pending."""
    step: int = 0
    """Updates of the whole run."""
    train_s: float = 0.0
    """Seconds of training alone, over all sessions of the run."""
    best: float | None = None
    """Best value of what the best checkpoint is chosen by."""
    stale: int = 0
    """Evaluations since the best one."""
    evaluated: int = -1
    """Updates there were at the last evaluation."""
    names: list[str] = field(default_factory=list)
    """What `sums` holds after the weight."""
    sums: Tensor | None = None
    """Sums of this process since the last evaluation: the weight, then each loss part."""

    def state(
        self, *, network: nn.Module, optimizer: torch.optim.Optimizer, world: World
    ) -> dict[str, Any]:
        """Return a checkpoint's content; with several processes all must call it."""
        sums = None if self.sums is None else world.gather(self.sums).cpu()
        return {
            "model": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "position": {**vars(self), "names": list(self.names), "sums": sums},
            "random": random_states(),
        }

    @classmethod
    def restore(
        cls,
        state: Mapping[str, Any],
        *,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        world: World,
    ) -> Position:
        """Load a checkpoint's content into a network and an optimiser and return the position.

        Raises:
            CheckpointError: the content fits another network, or parts of it are missing.
        """
        try:
            network.load_state_dict(state["model"])
            _restore_optimizer(optimizer, state["optimizer"])
            restore_random_states(state["random"])
            at = cls(**state["position"])
            at.check()
            if at.sums is not None:
                at.sums = _own_sums(at.sums, world=world, device=next(network.parameters()).device)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError):
            raise CheckpointError(
                "The checkpoint does not fit this run's network and optimiser.",
                hint="Resume with the configuration it was trained with, or use --init-from.",
            ) from None
        return at

    def check(self) -> None:
        """Make sure that this is a place where a training can stand.

        Raises:
            TypeError: something is of another kind than it must be.
            ValueError: a number is negative, or the sums are not those of the names.
        """
        counts = (self.epoch, self.batch, self.step, self.stale, self.evaluated + 1)
        whole = all(isinstance(count, int) for count in counts)
        timed = isinstance(self.train_s, int | float) and isinstance(self.best, float | int | None)
        named = isinstance(self.names, list) and all(isinstance(n, str) for n in self.names)
        if not (whole and timed and named and isinstance(self.sums, Tensor | None)):
            raise TypeError("the position holds something else than numbers")
        columns = [None, len(self.names) + 1]
        if (self.sums.shape[-1] if self.sums is not None else None) not in columns:
            raise ValueError("the sums are not those of the names")
        if min(*counts, self.train_s) < 0:
            raise ValueError("the position lies before the beginning")


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take over an optimiser's running means; but for the rate, its settings stay the config's.

    Raises:
        ValueError: the means are not those of these weights.
    """
    settings = [
        {name: value for name, value in group.items() if name not in ("params", "lr")}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(dict(state))
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own, lr=float(group["lr"]))
    kept = [(weight, found) for weight, found in optimizer.state.items() if found]
    for weight, found in kept:
        shapes = {tuple(v.shape) for v in found.values() if v is not None}
        if found.keys() != kept[0][1].keys() or not shapes <= {tuple(weight.shape), ()}:
            raise ValueError("the means of another optimiser")


def _own_sums(rows: Tensor, *, world: World, device: torch.device) -> Tensor:
    """Give this process its row, or spread the total where the number of processes changed."""
    mine = rows[world.rank] if rows.shape[0] == world.size else rows.sum(0) / world.size
    return mine.to(device, torch.float32 if device.type == "mps" else mine.dtype)
