"""Training deep stacks with and without warm-up: what the gradients mean in practice.

Xiong et al. 2020 and Liu et al. 2020 found that deep post-norm Transformers do not learn without
learning-rate warm-up, and that pre-norm ones do not need it. Adam, a constant rate after warm-up,
no dropout, no clipping; every update sees fresh sequences, so the loss shown is a test loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dlcli.engine.device import Compute
from dlcli.engine.events import Evaluated
from dlcli.engine.loop import Plan, Training
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.errors import RunFailed
from dlcli.layernorm.config import LnGradientsConfig, Placement, TrainConfig
from dlcli.layernorm.results import Curve, TrainingResult
from dlcli.layernorm.slopes import mean_interval
from dlcli.layernorm.tasks import build_learner

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
    """Every placement without warm-up, and post-norm with it."""
    placements = tuple(dict.fromkeys(config.sweep.placements))
    bare = [Arm(placement=placement, warmup=0) for placement in placements]
    warmup = config.training.warmup_steps
    warm = [Arm(placement="post", warmup=warmup)] if "post" in placements and warmup else []
    return (*bare, *warm)


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
    curve = Curve(
        placement=arm.placement,
        warmup_steps=arm.warmup,
        seed=seed,
        steps=(),
        loss=(),
        accuracy=(),
        solved=False,
    )
    training = plan(task, warmup=arm.warmup, steps=task.steps, seed=seed, compute=compute)
    try:
        for event in Training(learner, plan=training).events():
            if isinstance(event, Evaluated):
                curve = _extend(curve, event)
                yield curve
    except RunFailed as error:
        yield replace(curve, note=error.message)


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
    mine = [c for c in curves if (c.placement, c.warmup_steps) == (arm.placement, arm.warmup)]
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
