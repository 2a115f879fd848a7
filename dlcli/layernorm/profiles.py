"""The gradient of every layer at one depth: at initialisation, and after some training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dlcli.engine.device import Compute
from dlcli.engine.loop import Training
from dlcli.engine.seed import generator
from dlcli.errors import RunFailed
from dlcli.layernorm.config import LnGradientsConfig, Placement
from dlcli.layernorm.gradients import LayerNorms, layer_norms
from dlcli.layernorm.results import LayerProfile, LayerRow
from dlcli.layernorm.sweep import draw
from dlcli.layernorm.tasks import SequenceLearner, SequenceModel, build_learner, draw_sequences
from dlcli.layernorm.training import plan


def initial_profile(
    placement: Placement, *, config: LnGradientsConfig, compute: Compute
) -> LayerProfile:
    """Measure every layer on the Gaussian problem, averaged over the sweep's seeds."""
    found = []
    for index in range(config.sweep.seeds):
        stack, probe = draw(
            placement,
            depth=config.layers.depth,
            width=config.sweep.widths[0],
            index=index,
            config=config,
            device=compute.device,
        )
        with compute.autocast():
            found.append(layer_norms(stack, probe.x, loss=probe.loss))
    return average(found, condition="initialisation", step=0, problem="gaussian")


def trained_profiles(
    placement: Placement, *, config: LnGradientsConfig, compute: Compute
) -> Iterator[LayerProfile]:
    """Yield the profile on the sequence task before, after training without and with warm-up."""
    task, steps = config.training, config.layers.steps
    for condition, warmup in (
        ("initialisation", None),
        ("no warm-up", 0),
        ("warm-up", task.warmup_steps),
    ):
        found: list[LayerNorms] = []
        note = ""
        for index in range(task.seeds):
            seed = config.compute.seed + index
            learner = build_learner(
                placement,
                stack=config.stack,
                config=task,
                depth=config.layers.depth,
                steps=steps,
                seed=seed,
                device=compute.device,
            )
            try:
                if warmup is not None:
                    _train(learner, config=config, compute=compute, warmup=warmup)
                found.append(_measure(learner))
            except RunFailed as error:
                note = f"seed {seed}: {error.message}"
        step = 0 if warmup is None else steps
        profile = average(found, condition=condition, step=step, problem=task.task)
        yield replace(profile, note=note)


def average(
    found: Sequence[LayerNorms], *, condition: str, step: int, problem: str
) -> LayerProfile:
    """Average norms over seeds, layer by layer."""
    if not found:
        return LayerProfile(
            condition=condition,
            step=step,
            problem=problem,
            rows=(),
            output_hidden=None,
            first_to_last=None,
            loss=None,
            seeds=0,
        )
    weights, w2, hidden = (
        [sum(column) / len(found) for column in zip(*rows, strict=True)]
        for rows in (
            [norms.weights for norms in found],
            [norms.w2 for norms in found],
            [norms.hidden for norms in found],
        )
    )
    return LayerProfile(
        condition=condition,
        step=step,
        problem=problem,
        rows=tuple(
            LayerRow(layer=i + 1, weights=weights[i], w2=w2[i], hidden=hidden[i])
            for i in range(len(weights))
        ),
        output_hidden=hidden[-1],
        first_to_last=hidden[0] / hidden[-1] if hidden[-1] else None,
        loss=sum(norms.loss for norms in found) / len(found),
        seeds=len(found),
    )


def _train(
    learner: SequenceLearner, *, config: LnGradientsConfig, compute: Compute, warmup: int
) -> None:
    training = plan(
        config.training, warmup=warmup, steps=learner.steps, seed=learner.seed, compute=compute
    )
    for _ in Training(learner, plan=training).events():
        pass


def _measure(learner: SequenceLearner) -> LayerNorms:
    """Measure a model on one fresh batch of its task."""
    model = learner.network
    assert isinstance(model, SequenceModel)
    stream = generator(learner.seed, "ln-measured")
    symbols, targets = draw_sequences(learner.config.task, config=learner.config, stream=stream)
    symbols, targets = symbols.to(learner.device), targets.to(learner.device)

    def loss(hidden: Tensor) -> Tensor:
        return model.loss_sum(hidden, targets)[0] / targets.numel()

    with torch.no_grad():
        x = model.embed(symbols)
    return layer_norms(model.stack, x, loss=loss)
