"""The one training loop: a generator of events that knows no model and neither prints nor saves.

It yields `StateDue` where a checkpoint belongs, and does so before it evaluates, so that an
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
from typing import Any

import torch

from dlcli.engine.device import Compute
from dlcli.engine.distributed import World
from dlcli.engine.events import Evaluated, Event, Finished, Progress, StateDue
from dlcli.engine.learner import Batch, Learner
from dlcli.engine.position import Position
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.engine.step import Stepper
from dlcli.engine.stopping import StopFlag
from dlcli.errors import RunFailed

PROGRESS_EVERY_S = 0.2
GPU_LOOK_EVERY = 32  # reading a number from a GPU waits for all its work, so look only so often


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a training needs beside its learner."""

    optim: OptimConfig
    loop: LoopConfig
    compute: Compute
    seed: int
    world: World = field(default_factory=World)
    compiled: bool = False
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
        self._session_s = 0.0
        self._tick = self._began = self._saved_at = self._shown_at = clock()

    def events(self) -> Iterator[Event]:
        """Train to the end or to a stop, yielding what happens; `Finished` comes last."""
        if self.position.step == 0 and 0 in self.plan.keep_epochs:
            yield self._due("epoch-0000")
        reason = "done"
        while self.position.epoch < self.plan.loop.epochs and reason == "done":
            reason = yield from self._epoch()
        yield Finished(
            reason=reason,
            epoch=self.position.epoch,
            step=self.position.step,
            train_s=self.position.train_s,
            rate=self.rate,
        )

    @property
    def rate(self) -> float:
        """Items of all processes a second of training time in this session."""
        return self._items * self.plan.world.size / self._session_s if self._session_s else 0.0

    def _epoch(self) -> Generator[Event, None, str]:
        number = self.position.epoch + 1
        if self.position.batch < self.batches:
            reason = yield from self._steps()
            if reason:
                yield self._due("last")
                return reason
            yield self._due("last")
            if number in self.plan.keep_epochs:
                yield self._due(f"epoch-{number:04d}")
        every = self.plan.loop.evaluate_every
        by_epochs = self.plan.loop.evaluate_unit == "epochs"
        if number == self.plan.loop.epochs or (by_epochs and number % every == 0):
            yield from self._evaluate(epoch=number)
        self.position.epoch, self.position.batch = number, 0
        patience = self.plan.loop.patience
        return "early-stop" if patience and self.position.stale >= patience else "done"

    def _steps(self) -> Generator[Event, None, str]:
        """Take the epoch's remaining updates; return why to stop, or an empty string."""
        at, world = self.position, self.plan.world
        self.learner.network.train()
        source = self.learner.batches(
            epoch=at.epoch, start=at.batch, rank=world.rank, world=world.size
        )
        self._tick = self.clock()
        while group := list(itertools.islice(source, self.plan.optim.accumulate)):
            with self.stop.deferring():
                self._update(group)
            self._look()
            now = self.clock()
            if now - self._shown_at > PROGRESS_EVERY_S and at.batch < self.batches:
                self._shown_at = now
                yield from self._tell(self._progress())
            stop, save, spent = self._agreed(now)
            if stop or spent:
                self._pause()
                return "interrupted" if stop else "max-minutes"
            if save:
                yield from self._tell(self._due("last"))
            if self._evaluation_due():
                self._pause()
                yield from self._evaluate(epoch=at.epoch + 1)
                self.learner.network.train()
                self._tick = self.clock()
        self._pause()
        return ""

    def _tell(self, event: Event) -> Generator[Event, None, None]:
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

    def _look(self) -> None:
        """Stop on a loss that is no longer a number, before anything of it is saved."""
        on_gpu = self.plan.compute.device.type != "cpu"
        if on_gpu and self.position.step % GPU_LOOK_EVERY:
            return
        assert self.position.sums is not None
        if not math.isfinite(self.position.sums[1].item()):
            raise RunFailed(
                f"The loss stopped being a finite number at update {self.position.step} "
                f"(epoch {self.position.epoch + 1}).",
                hint="Lower --lr or set --clip-norm 1; the last good checkpoint was kept.",
            )

    def _agreed(self, now: float) -> list[bool]:
        limit = self.plan.loop.max_minutes * 60
        wants = [
            self.stop.requested,
            now - self._saved_at > self.plan.loop.checkpoint_minutes * 60,
            bool(limit) and now - self._began > limit,
        ]
        on_gpu = self.plan.compute.device.type != "cpu"
        if self.plan.world.size > 1 and on_gpu and self.position.step % GPU_LOOK_EVERY:
            return [False, False, False]
        return self.plan.world.agree(wants, device=self.plan.compute.device)

    def _evaluation_due(self) -> bool:
        loop, at = self.plan.loop, self.position
        return (
            loop.evaluate_unit == "steps"
            and at.step % loop.evaluate_every == 0
            and at.batch < self.batches
        )

    def _evaluate(self, *, epoch: int) -> Generator[Event, None, None]:
        """Measure, yield the result, and keep the best by validation loss."""
        at = self.position
        means = self._means()
        found: Mapping[str, object] = {}
        if self.plan.world.is_main:
            self.learner.network.eval()
            found = self.learner.evaluate(epoch=epoch)
        valid = self.plan.world.share(found.get("valid_loss"))
        at.sums = None
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
        if isinstance(valid, float):
            improved = at.best is None or valid < at.best
            at.best, at.stale = (valid, 0) if improved else (at.best, at.stale + 1)
            if improved:
                yield self._due("best")

    def _means(self) -> dict[str, float]:
        if self.position.sums is None:
            return {}
        totals = self.plan.world.gather(self.position.sums).sum(0).tolist()
        return {
            name: total / totals[0]
            for name, total in zip(self.position.names, totals[1:], strict=True)
        }

    def _progress(self) -> Progress:
        self._pause()
        sums = self.position.sums
        values: list[float] = [] if sums is None else (sums[1:] / sums[0]).tolist()
        left = self.total_steps - self.position.step
        return Progress(
            epoch=self.position.epoch + 1,
            step=self.position.step,
            total_steps=self.total_steps,
            losses=dict(zip(self.position.names, values, strict=True)),
            rate=self.rate,
            lr=self.stepper.lr,
            remaining_s=left * self._session_s / self._updates if self._updates else None,
        )

    def _due(self, name: str) -> StateDue:
        """Describe a checkpoint; refuse to describe weights that are not finite."""
        self._saved_at = self.clock()
        for tensor in self.learner.network.state_dict().values():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise RunFailed(
                    f"The weights stopped being finite by update {self.position.step}.",
                    hint="Lower --lr or set --clip-norm 1; the last good checkpoint was kept.",
                )
        state = self.position.state(
            network=self.learner.network, optimizer=self.stepper.optimizer, world=self.plan.world
        )
        return StateDue(name=name, step=self.position.step, state=state)
