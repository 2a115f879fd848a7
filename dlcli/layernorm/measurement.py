"""One call for `dl ln-gradients`: sweep, per-layer view, equations, lemmas, training.

`run` is a generator of results, each holding all that is known so far. Whoever is interrupted
therefore has the last one in hand, marked `complete=False`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dlcli.engine.config import settings_signature
from dlcli.engine.device import Compute, prepare
from dlcli.engine.settings import compute_config
from dlcli.layernorm.config import LnGradientsConfig, validate
from dlcli.layernorm.equations import EquationCheck, Lemmas, check_equation, check_lemmas
from dlcli.layernorm.gradients import (
    LayerProfile,
    average,
    initial_profile,
    model_norms,
    trained_profiles,
)
from dlcli.layernorm.theorem import (
    TARGETS,
    Claim,
    PlacementResult,
    Verdict,
    judge,
    overall,
    summarise,
    sweep_norms,
)
from dlcli.layernorm.training import POINTS, TrainingResult, arms, train_arms


@dataclass(frozen=True, kw_only=True)
class LnGradients:
    """The result of `dl ln-gradients`, or as much of it as there is so far.

    Attributes:
        setting: theorem or transformer.
        conditions: everything that the slopes move with, in words.
        seeds: complete seeds.
        placements: by name, in the order of the config.
        theorem: Theorem 1 held against `post` and `pre`, where they were measured.
        verdict: pass or fail of all claims together; None where nothing could be decided.
        equations: 21' and 22', with `--equations`.
        lemmas: Lemmas 2 and 3, with `--equations`.
        training: with `--train`.
        complete: False in a partial result.
        done: fraction of the work, 0 to 1.
        signature: all that changes the numbers.
    """

    setting: str
    conditions: str
    seeds: int = 0
    placements: dict[str, PlacementResult]
    theorem: dict[str, Claim]
    verdict: Verdict | None = None
    equations: tuple[EquationCheck, ...] = ()
    lemmas: Lemmas | None = None
    training: TrainingResult | None = None
    complete: bool = False
    done: float = 0.0
    signature: str


@dataclass(frozen=True, kw_only=True)
class ModelGradients:
    """The gradients of a trained model by layer, on a batch that it was not trained on.

    Attributes:
        run: its folder.
        checkpoint: which one of the run.
        norm: pre or post.
        stacks: of each stack of layers, such as `encoder`, the gradient norms by layer.
        signature: all that changes the numbers.
    """

    run: str
    checkpoint: str
    norm: str
    stacks: dict[str, LayerProfile]
    signature: str


def profiles_of_model(
    stacks: Mapping[str, Sequence[nn.Module]], *, loss: Callable[[], Tensor], data: str
) -> dict[str, LayerProfile]:
    """Measure every layer of a model; for the arguments see `model_norms`.

    Args:
        stacks: layers by the name of their stack.
        loss: runs the model on its batch.
        data: what the batch is of.
    """
    return {
        name: average([norms], condition="as it is", step=0, problem=data)
        for name, norms in model_norms(stacks, loss=loss).items()
    }


def run(config: LnGradientsConfig) -> Iterator[LnGradients]:
    """Measure, yielding ever more complete results; the last has `complete=True`.

    On the CPU small products get one thread unless `--threads` is given: at 256 features and 256
    tokens a second thread gains little on an idle machine, and on a busy one the threads' waiting
    for each other made the sweep 20 times slower (measured).

    Raises:
        ConfigError: the config wants what cannot be measured.
        RunFailed: numbers overflowed in the chosen format.
    """
    validate(config)
    config = replace(config, sweep=config.sweep.distinct())
    before = torch.get_num_threads()
    place = compute_config(config.compute)
    if max(config.sweep.widths) <= 512 and not place.threads:
        place = replace(place, threads=1)
    try:
        yield from _stages(config, compute=prepare(place))
    finally:
        torch.set_num_threads(before)


def _stages(config: LnGradientsConfig, *, compute: Compute) -> Iterator[LnGradients]:
    costs = _costs(config)
    total = sum(count * cost for count, cost in costs.values())
    before = 0.0
    result = LnGradients(
        setting=config.stack.regime,
        conditions=describe(config),
        placements={},
        theorem={},
        signature=sign(config),
    )
    for name, stage in (
        ("sweep", _with_sweep),
        ("layers", _with_profiles),
        ("equations", _with_equations),
        ("training", _with_training),
    ):
        expected, cost = costs[name]
        for count, further in enumerate(stage(result, config=config, compute=compute), start=1):
            done = (before + min(count, expected) * cost) / total
            result = replace(further, done=min(0.999, done))
            yield result
        before += expected * cost
    yield replace(result, complete=True, done=1.0)


def _costs(config: LnGradientsConfig) -> dict[str, tuple[int, float]]:
    """Guess how many results each stage yields, and roughly how many seconds each takes."""
    many = len(config.sweep.placements)
    steps, task = config.layers.steps, config.training
    curves = len(arms(config)) * task.seeds if config.train else 0
    return {
        "sweep": (config.sweep.seeds, 0.25 * many * len(config.sweep.widths)),
        "layers": (many * (4 if steps else 1), 1.0 + 0.1 * steps),
        "equations": (3 if config.equations else 0, 2.0),
        "training": (curves * POINTS, 0.1 * task.steps / POINTS),
    }


def _with_sweep(
    result: LnGradients, *, config: LnGradientsConfig, compute: Compute
) -> Iterator[LnGradients]:
    tolerances = {"post": config.sweep.post_tolerance, "pre": config.sweep.pre_tolerance}
    for count, norms in enumerate(sweep_norms(config, compute=compute), start=1):
        placements = summarise(norms, sweep=config.sweep)
        theorem = {
            name: judge(name, found, tolerance=tolerances[name])
            for name, found in placements.items()
            if name in TARGETS
        }
        yield replace(
            result,
            seeds=count,
            placements=placements,
            theorem=theorem,
            verdict=overall(list(theorem.values())),
        )


def _with_profiles(
    result: LnGradients, *, config: LnGradientsConfig, compute: Compute
) -> Iterator[LnGradients]:
    for placement in config.sweep.placements:
        profile = initial_profile(placement, config=config, compute=compute)
        found = replace(result.placements[placement], per_layer=profile.rows, profiles=(profile,))
        result = replace(result, placements={**result.placements, placement: found})
        yield result
        if config.layers.steps:
            for profile in trained_profiles(placement, config=config, compute=compute):
                found = replace(found, profiles=(*found.profiles, profile))
                result = replace(result, placements={**result.placements, placement: found})
                yield result


def _with_equations(
    result: LnGradients, *, config: LnGradientsConfig, compute: Compute
) -> Iterator[LnGradients]:
    del compute  # float64 and small: always on the CPU
    if not config.equations:
        return
    for placement in ("post", "pre"):
        check = check_equation(placement, config=config)
        result = replace(result, equations=(*result.equations, check))
        yield result
    yield replace(result, lemmas=check_lemmas(config))


def _with_training(
    result: LnGradients, *, config: LnGradientsConfig, compute: Compute
) -> Iterator[LnGradients]:
    if config.train:
        for training in train_arms(config, compute=compute):
            yield replace(result, training=training)


def describe(config: LnGradientsConfig) -> str:
    """Say in words everything that the slopes move with."""
    stack, sweep = config.stack, config.sweep
    theorem = stack.regime == "theorem"
    hidden = stack.feedforward or ("d" if theorem else "4d")
    parts = [
        "one head, W^Q = W^K = 0, one value matrix" if theorem else f"{stack.heads}-head attention",
        f"d_ff = {hidden}",
        f"{'Gaussian' if theorem else 'uniform'} Xavier weights",
        f"γ = {stack.gamma:g}",
        f"batch of {sweep.batch_size} × {sweep.tokens} Gaussian tokens",
        f"token-mean cross-entropy over {sweep.classes:,} classes with a Gaussian Xavier readout",
        "final LayerNorm "
        + {"auto": "in pre-norm", "on": "everywhere", "off": "nowhere"}[stack.final_norm],
        f"numbers in {sweep.dtype}",
    ]
    covered = theorem and stack.feedforward == 0 and stack.gamma == 1 and stack.final_norm == "auto"
    return "; ".join(parts) + ("" if covered else " (not the setting that Theorem 1 is proved in)")


def sign(config: LnGradientsConfig) -> str:
    """Return the signature of the sweep and the views beside it."""
    stack, sweep, task, exact = config.stack, config.sweep, config.training, config.exact
    trained = config.train or config.layers.steps
    sizes = f"L{task.depth}d{task.width}h{stack.heads}b{task.batch_size}x{task.steps}s{task.seeds}"
    after = f"{config.layers.steps}d{task.width}b{task.batch_size}s{task.seeds}"
    parts = {
        "setting": stack.regime,
        "placements": sweep.placements,
        "depths": sweep.depths,
        "widths": sweep.widths,
        "seeds": sweep.seeds,
        "seed": config.compute.seed,
        "batch": f"{sweep.batch_size}x{sweep.tokens}",
        "classes": sweep.classes,
        "ff": stack.feedforward or ("d" if stack.regime == "theorem" else "4d"),
        "heads": stack.heads if stack.regime == "transformer" else None,
        "gamma": stack.gamma,
        "final_norm": stack.final_norm,
        "layer_depth": config.layers.depth,
        "equations": f"L{exact.depth}d{exact.width}t{exact.tokens}" if config.equations else None,
        "task": f"{task.task}-{task.length}of{task.vocabulary}" if trained else None,
        "steps": after if config.layers.steps else None,
        "train": sizes if config.train else None,
        "lr": task.lr if trained else None,
        "warmup": task.warmup_steps if trained else None,
        "dtype": sweep.dtype,
        "precision": config.compute.precision if config.compute.precision != "auto" else None,
    }
    measured = {"measure": "ln-gradients"}
    return settings_signature(config, measured, order=tuple(parts), composed=parts)
