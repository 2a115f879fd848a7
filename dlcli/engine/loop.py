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
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dlcli.engine.device import Compute
from dlcli.engine.distributed import World
from dlcli.engine.events import Evaluated, Event, Finished, Progress, StateDue
from dlcli.engine.seed import Position, derive, reseed
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.engine.stopping import StopFlag
from dlcli.errors import RunFailed

# -- What the training loop trains: the two small contracts between the engine and a domain


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one training step of this process works on."""

    payload: tuple[Any, ...]
    """The arguments of the network's forward."""
    items: int
    """Items of this process, for speeds."""
    weight: float
    """What the loss sums of the *global* batch are divided by: its images or target tokens."""


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


# -- Optimisers and learning-rate schedules, from settings


def build_optimizer(
    config: OptimConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return Adam or SGD; both run their fused form, one pass over the weights."""
    params = list(parameters)
    devices = {p.device for p in params}
    fused = all(device.type in ("cpu", "cuda") for device in devices)
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            params,
            config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    one_kind = len(devices) == 1 and len({p.dtype for p in params}) == 1
    kind = LeanAdam if fused and one_kind else torch.optim.Adam
    return kind(params, config.lr, weight_decay=config.weight_decay, fused=fused)


class LeanAdam(torch.optim.Adam):
    """Fused Adam that does not look its tensors up anew at every step.

    Kernel, state and so every bit are torch's. What goes is 0.3 ms of Python a step, 5% of that of
    the fully connected VAE. First steps, and those in which a weight has no gradient, are torch's.
    """

    _found: list[tuple[list[Tensor], ...]] | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, whose tensors are new ones."""
        self._found = None
        super().load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step, like `torch.optim.Adam`."""
        gradients = [[weight.grad for weight in group["params"]] for group in self.param_groups]
        if closure is not None or any(grad is None for grads in gradients for grad in grads):
            return super().step(closure)
        if self._found is None:
            super().step()
            self._found = [self._look_up(group["params"]) for group in self.param_groups]
            return None
        for group, grads, found in zip(self.param_groups, gradients, self._found, strict=True):
            weights, means, squares, steps = found
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(
                *(weights, grads, means, squares, [], steps),
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
        return None

    def _look_up(self, weights: list[Tensor]) -> tuple[list[Tensor], ...]:
        states = [self.state[weight] for weight in weights]
        names = ("exp_avg", "exp_avg_sq", "step")
        return weights, *([state[name] for state in states] for name in names)


def learning_rate(config: OptimConfig, *, step: int, total_steps: int) -> float:
    """Return the learning rate of update `step` (from 0) of `total_steps`.

    Linear warm-up from lr/warmup_steps, then constant, or a cosine or linear decay from lr that
    would reach `final_lr` · lr one update after the last: no update is wasted on a rate of 0.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    span = max(1, total_steps - config.warmup_steps)
    done = min(1.0, (step - config.warmup_steps) / span)
    shape = 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1 - done
    return config.lr * (config.final_lr + (1 - config.final_lr) * shape)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


# -- One update: forward, backward, clipping, optimiser


class Stepper:
    """Takes updates of one network with one optimiser.

    Args:
        network: forward returns a dictionary of sums, `loss` among them.
        optim: the optimiser's settings.
        compute: device and precision.
        world: this process among its peers.
        seed: of the run; each update reseeds torch's global generator from it (for dropout).
        compiled: whether to run the network through `torch.compile`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        optim: OptimConfig,
        compute: Compute,
        world: World,
        seed: int,
        compiled: bool = False,
    ) -> None:
        self.config, self.compute, self.world, self.seed = optim, compute, world, seed
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(optim, self.parameters)
        callee: Any = torch.compile(network) if compiled else network
        self.network = world.wrap(callee, device=compute.device)
        self.names: list[str] = []
        self._sum_dtype = torch.float32 if compute.device.type == "mps" else torch.float64

    @property
    def lr(self) -> float:
        """The learning rate of the last update, in whichever session that was."""
        return float(self.optimizer.param_groups[0]["lr"])

    def update(self, batches: Sequence[Batch], *, step: int, total_steps: int) -> Tensor:
        """Take update `step` on the given batches and return its sums.

        The gradient is that of Σ loss / Σ weight over all batches and processes.

        Returns:
            float64 (1 + parts,): the weight, then this process's sum of each part in `names`.
        """
        reseed(derive(self.seed, "step", step, self.world.rank), device=self.compute.device)
        lr = learning_rate(self.config, step=step, total_steps=total_steps)
        set_learning_rate(self.optimizer, lr)
        for parameter in self.parameters:  # zero_grad does the same thirty times slower
            parameter.grad = None
        scale = self.world.size / batches[0].weight
        sums = self._backward(batches[0], scale=scale, last=len(batches) == 1)
        for i, batch in enumerate(batches[1:], start=2):
            sums += self._backward(batch, scale=scale, last=i == len(batches))
        self._rescale(batches)
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.optimizer.step()
        return sums

    def _backward(self, batch: Batch, *, scale: float, last: bool) -> Tensor:
        network: Any = self.network
        waits = isinstance(network, DistributedDataParallel) and not last
        with network.no_sync() if waits else nullcontext():
            with self.compute.autocast():
                parts: dict[str, Tensor] = network(*batch.payload)
            torch.autograd.backward(parts["loss"] * scale)
        self.names = list(parts)
        weight = torch.full((), batch.weight / self.world.size, device=self.compute.device)
        return torch.stack([weight, *(part.detach() for part in parts.values())]).to(
            self._sum_dtype
        )

    def _rescale(self, batches: Sequence[Batch]) -> None:
        """Turn gradients divided by the first batch's weight into ones divided by all weights."""
        if len(batches) > 1:
            factor = batches[0].weight / sum(batch.weight for batch in batches)
            grads = [p.grad for p in self.parameters if p.grad is not None]
            torch._foreach_mul_(grads, factor)


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
            yield self._due("epoch-0000")
        reason = "early-stop" if self._is_stale() else ""
        nothing_left = bool(reason) or at.epoch >= plan.loop.epochs
        while not reason and at.epoch < plan.loop.epochs:
            reason = yield from self._epoch()
        if reason in ("", "early-stop") and not (nothing_left and at.step):
            yield self._due("last")
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
                yield self._due(f"epoch-{number:04d}")
            yield self._due("last")
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
                    yield from self._tell(self._due("last"))
                if self.clock() - self._shown_at > PROGRESS_EVERY_S:
                    yield from self._tell(self._progress())
        raise RuntimeError(f"an epoch of {self.batches} batches ended after {at.batch}")

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
                hint=self._way_out(),
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
        self._shown_at = self.clock()
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
                    hint=self._way_out(),
                )
        state = self.position.state(
            network=self.learner.network, optimizer=self.stepper.optimizer, world=self.plan.world
        )
        self._kept = self._kept or name == "last"
        return StateDue(name=name, step=self.position.step, state=state)

    def _way_out(self) -> str:
        advice = "Lower --lr or set --clip-norm 1"
        return f"{advice}; the last good checkpoint was kept." if self._kept else f"{advice}."
