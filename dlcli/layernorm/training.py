"""Training deep stacks with and without warm-up: what the gradients mean in practice.

Xiong et al. 2020 and Liu et al. 2020 found that deep post-norm Transformers do not learn without
learning-rate warm-up, and that pre-norm ones do not need it. Here they learn to give a sequence
back, copied or reversed. Copying needs no attention; reversing needs every token to attend to its
mirror position, which only the transformer setting can do. Adam, a constant rate after warm-up, no
dropout, no clipping; every update sees fresh sequences, so the loss shown is a test loss.

Shapes: B batch, T symbols, D features, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.engine.device import Compute
from dlcli.engine.events import Evaluated
from dlcli.engine.loop import Plan, Training
from dlcli.engine.seed import generator
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.engine.statistics import mean_interval
from dlcli.engine.step import Batch
from dlcli.errors import RunFailed
from dlcli.layernorm.config import (
    LnGradientsConfig,
    Placement,
    SequenceTask,
    StackConfig,
    TrainConfig,
)
from dlcli.layernorm.stack import Stack, Xavier, build_stack, profile_admin

POINTS = 20
"""Points of a loss curve."""
SOLVED = 0.95


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One kind of run."""

    placement: Placement
    warmup: int

    @property
    def name(self) -> str:
        """The kind in words."""
        return f"{self.placement}, " + ("warm-up" if self.warmup else "no warm-up")


def arms(config: LnGradientsConfig) -> tuple[Arm, ...]:
    """Return every placement without warm-up, and post-norm with it."""
    placements, warmup = config.sweep.distinct().placements, config.training.warmup_steps
    bare = [Arm(placement=placement, warmup=0) for placement in placements]
    warm = [Arm(placement="post", warmup=warmup)] if "post" in placements and warmup else []
    return (*bare, *warm)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One training: mean loss and accuracy since the point before."""

    placement: Placement
    warmup_steps: int
    seed: int
    steps: tuple[int, ...] = ()
    loss: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()
    solved: bool = False
    """Whether the last accuracy is above 95%."""
    note: str = ""

    @property
    def arm(self) -> Arm:
        """The kind of run that it is one of."""
        return Arm(placement=self.placement, warmup=self.warmup_steps)


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """All trainings that are complete.

    Attributes:
        task: reverse or copy.
        depth: layers.
        width: features.
        heads: attention heads; training always uses real attention.
        chance_loss: ln V nats, what guessing costs.
        curves: one per placement, warm-up and seed.
        words: what came of it, one sentence per kind of run.
    """

    task: str
    depth: int
    width: int
    heads: int
    chance_loss: float
    curves: tuple[Curve, ...]
    words: tuple[str, ...]


def train_arms(config: LnGradientsConfig, *, compute: Compute) -> Iterator[TrainingResult]:
    """Yield the curves so far, at every point of every curve; seeds are the outermost loop."""
    curves: list[Curve] = []
    kinds = arms(config)
    for index in range(config.training.seeds):
        for arm in kinds:
            curve = None
            for curve in train_one(
                arm, config=config, seed=config.compute.seed + index, compute=compute
            ):
                yield _result([*curves, curve], config=config, finished=curves)
            if curve is not None:
                curves.append(curve)
    yield _result(curves, config=config, finished=curves)


def train_one(
    arm: Arm, *, config: LnGradientsConfig, seed: int, compute: Compute
) -> Iterator[Curve]:
    """Yield one run's curve as it grows; a run whose loss stops being finite ends with a note."""
    task = config.training
    learner = build_learner(
        arm.placement,
        stack=replace(config.stack, regime="transformer"),
        config=task,
        depth=task.depth,
        steps=task.steps,
        seed=seed,
        device=compute.device,
    )
    curve = Curve(placement=arm.placement, warmup_steps=arm.warmup, seed=seed)
    training = plan(task, warmup=arm.warmup, steps=task.steps, seed=seed, compute=compute)
    try:
        for event in Training(learner, plan=training).events():
            if isinstance(event, Evaluated):
                curve = _extend(curve, event)
                yield curve
    except RunFailed as error:
        yield replace(curve, note=error.message)


def plan(config: TrainConfig, *, warmup: int, steps: int, seed: int, compute: Compute) -> Plan:
    """Say how the engine's loop trains one run."""
    return Plan(
        optim=OptimConfig(lr=config.lr, warmup_steps=warmup),
        loop=LoopConfig(
            epochs=1,
            batch_size=config.batch_size,
            evaluate_every=max(1, steps // POINTS),
            evaluate_unit="steps",
        ),
        compute=compute,
        seed=seed,
    )


def _extend(curve: Curve, event: Evaluated) -> Curve:
    loss, accuracy = (float(str(event.metrics[f"train_{name}"])) for name in ("loss", "correct"))
    return replace(
        curve,
        steps=(*curve.steps, event.step),
        loss=(*curve.loss, loss),
        accuracy=(*curve.accuracy, accuracy),
        solved=accuracy > SOLVED,
    )


def _result(
    curves: Sequence[Curve], *, config: LnGradientsConfig, finished: Sequence[Curve]
) -> TrainingResult:
    task = config.training
    return TrainingResult(
        task=task.task,
        depth=task.depth,
        width=task.width,
        heads=config.stack.heads,
        chance_loss=math.log(task.vocabulary),
        curves=tuple(curves),
        words=tuple(_words(arm, finished, config=task) for arm in arms(config)),
    )


def _words(arm: Arm, curves: Sequence[Curve], *, config: TrainConfig) -> str:
    mine = [curve for curve in curves if curve.arm == arm]
    if not mine:
        return f"{arm.name}: no run is complete"
    solved = sum(curve.solved for curve in mine)
    start = f"{arm.name}: {solved} of {len(mine)} runs solved the task in {config.steps} updates"
    losses = [curve.loss[-1] for curve in mine if curve.loss and not curve.note]
    if not losses:
        return f"{start}; the loss stopped being finite"
    mean, interval = mean_interval(losses)
    spread = f" (95% interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    chance = math.log(config.vocabulary)
    return f"{start}; final loss {mean:.3f}{spread} nats, guessing costs {chance:.3f}"


def build_learner(
    placement: Placement,
    *,
    stack: StackConfig,
    config: TrainConfig,
    depth: int,
    steps: int,
    seed: int,
    device: torch.device,
) -> SequenceLearner:
    """Draw a model (Admin's ω profiled on a batch of its own) and its stream of sequences.

    The weights of the stack are drawn first, so the placements of one seed share them.
    """
    model = SequenceModel(
        placement,
        stack=stack,
        config=config,
        depth=depth,
        stream=generator(seed, "ln-model", depth),
    )
    symbols, _ = draw_sequences(config.task, config=config, stream=generator(seed, "ln-profile"))
    profile_admin(model.stack, model.embed(symbols))
    return SequenceLearner(
        network=model.to(device), config=config, seed=seed, steps=steps, device=device
    )


@dataclass(kw_only=True)
class SequenceLearner:
    """A model and its endless stream of fresh sequences, cut into one epoch of `steps` batches."""

    network: nn.Module
    config: TrainConfig
    seed: int
    steps: int
    device: torch.device
    unit: str = "symbols"

    def steps_per_epoch(self) -> int:
        """Return the number of updates of the training."""
        return self.steps

    def batches(self, *, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield the batches; each depends on the seed and its own number alone."""
        del epoch, rank, world
        for step in range(start, self.steps):
            stream = generator(self.seed, "ln-sequences", step)
            symbols, targets = draw_sequences(self.config.task, config=self.config, stream=stream)
            payload = (symbols.to(self.device), targets.to(self.device))
            yield Batch(payload=payload, items=symbols.numel(), weight=float(symbols.numel()))

    def evaluate(self, *, epoch: int) -> Mapping[str, object]:
        """Add nothing: every batch is fresh, so the training loss is a test loss."""
        del epoch
        return {}


class SequenceModel(nn.Module):
    """Symbol and position embeddings, a stack, and a linear readout.

    Args:
        placement: of the stack's normalisation.
        stack: what its layers are made of.
        config: sizes.
        depth: layers of the stack.
        stream: draws all weights.
    """

    def __init__(
        self,
        placement: Placement,
        *,
        stack: StackConfig,
        config: TrainConfig,
        depth: int,
        stream: torch.Generator,
    ) -> None:
        super().__init__()
        init = Xavier(law="gaussian", generator=stream)
        self.stack: Stack = build_stack(
            placement, depth=depth, width=config.width, config=stack, generator=stream
        )
        self.symbols = _half_variance(config.vocabulary, config.width, stream=stream)
        self.positions = _half_variance(config.length, config.width, stream=stream)
        self.readout = init.matrix(config.vocabulary, config.width)

    def embed(self, symbols: Tensor) -> Tensor:
        """Turn symbols (B, T) into x_0 (B, T, D), of unit variance at initialisation."""
        return F.embedding(symbols, self.symbols) + self.positions

    def loss_sum(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy in nats and the number of right symbols."""
        logits = F.linear(hidden, self.readout).flatten(0, 1)
        right = (logits.argmax(1) == targets.flatten()).sum()
        return F.cross_entropy(logits, targets.flatten(), reduction="sum"), right

    def forward(self, symbols: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the sums `loss` and `correct` over all symbols of the batch."""
        loss, right = self.loss_sum(self.stack(self.embed(symbols)), targets)
        return {"loss": loss, "correct": right.to(loss.dtype)}


def _half_variance(rows: int, columns: int, *, stream: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns, generator=stream) * 0.5**0.5)


def draw_sequences(
    task: SequenceTask, *, config: TrainConfig, stream: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw uniform symbols (B, T) and what should come out of them (B, T)."""
    size = (config.batch_size, config.length)
    symbols = torch.randint(config.vocabulary, size, generator=stream)
    return symbols, symbols.flip(1) if task == "reverse" else symbols
