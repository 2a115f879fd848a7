"""One call for `dl ln-gradients`: sweep, per-layer view, equations, lemmas, training.

`run` is a generator of results, each holding all that is known so far. Whoever is interrupted
therefore has the last one in hand, marked `complete=False`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from dlcli.engine.device import Compute, prepare
from dlcli.engine.signature import signature
from dlcli.layernorm.config import LnGradientsConfig, validate
from dlcli.layernorm.equations import check_equation
from dlcli.layernorm.lemmas import check_lemmas
from dlcli.layernorm.profiles import initial_profile, trained_profiles
from dlcli.layernorm.results import LnGradients, PlacementResult
from dlcli.layernorm.slopes import Slope
from dlcli.layernorm.sweep import Grid, summarise, sweep_norms
from dlcli.layernorm.theorem import TARGETS, judge, overall
from dlcli.layernorm.training import POINTS, arms, train_arms


def run(config: LnGradientsConfig) -> Iterator[LnGradients]:
    """Measure, yielding ever more complete results; the last has `complete=True`.

    Raises:
        ConfigError: the config asks for what cannot be measured.
        RunFailed: numbers overflowed in the chosen format.
    """
    validate(config)
    before = torch.get_num_threads()
    try:
        yield from _stages(config, compute=_prepare(config))
    finally:
        torch.set_num_threads(before)


def measure(config: LnGradientsConfig) -> LnGradients:
    """Return the complete result (see `run`)."""
    *_, result = run(config)
    return result


def _prepare(config: LnGradientsConfig) -> Compute:
    """Resolve the device; on the CPU small products get one thread unless told otherwise.

    At 256 features and 256 tokens a second thread gains little on an idle machine, and on a busy
    one the threads' waiting for each other made the sweep 20 times slower (measured).
    """
    small = max(config.sweep.widths) <= 512 and not config.compute.threads
    wanted = config.compute.resolved()
    return prepare(replace(wanted, threads=1) if small else wanted)


def _stages(config: LnGradientsConfig, *, compute: Compute) -> Iterator[LnGradients]:
    work = _Work(config)
    result = _empty(config)
    for count, norms in enumerate(sweep_norms(config, compute=compute), start=1):
        placements = summarise(norms, grid=Grid.of(config))
        result = _judged(replace(result, seeds=count), placements, config=config)
        yield work.after(result, "sweep", count)
    for name, stage in (
        ("layers", _with_profiles),
        ("equations", _with_equations),
        ("training", _with_training),
    ):
        for count, further in enumerate(stage(result, config=config, compute=compute), start=1):
            result = further
            yield work.after(result, name, count)
    yield replace(result, complete=True, done=1.0)


class _Work:
    """Guesses how far along a run is, from rough costs of its stages in seconds."""

    def __init__(self, config: LnGradientsConfig) -> None:
        grid = Grid.of(config)
        trained = config.layers.steps > 0
        many = len(grid.placements)
        self.parts = {
            "sweep": (config.sweep.seeds, 0.25 * many * len(grid.widths)),
            "layers": (many * (4 if trained else 1), 1.0 + 0.1 * config.layers.steps),
            "equations": (3 if config.equations else 0, 2.0),
            "training": (
                len(arms(config)) * config.training.seeds * POINTS if config.train else 0,
                0.1 * config.training.steps / POINTS,
            ),
        }
        self.total = sum(count * cost for count, cost in self.parts.values())

    def after(self, result: LnGradients, stage: str, count: int) -> LnGradients:
        done = 0.0
        for name, (expected, cost) in self.parts.items():
            if name == stage:
                done += min(count, expected) * cost
                break
            done += expected * cost
        return replace(result, done=min(0.999, done / self.total))


def _empty(config: LnGradientsConfig) -> LnGradients:
    return LnGradients(
        setting=config.stack.regime,
        conditions=describe(config),
        seeds=0,
        placements={},
        theorem={},
        verdict=None,
        complete=False,
        done=0.0,
        signature=sign(config),
    )


def _judged(
    result: LnGradients, placements: dict[str, PlacementResult], *, config: LnGradientsConfig
) -> LnGradients:
    tolerances = {"post": config.sweep.post_tolerance, "pre": config.sweep.pre_tolerance}
    theorem = {
        name: judge(
            name,
            Slope(value=found.slope, ci95=found.slope_ci95, per_seed=(), note=found.note),
            tolerance=tolerances[name],
        )
        for name, found in placements.items()
        if name in TARGETS
    }
    verdict = overall(list(theorem.values()))
    return replace(result, placements=placements, theorem=theorem, verdict=verdict)


def _with_profiles(
    result: LnGradients, *, config: LnGradientsConfig, compute: Compute
) -> Iterator[LnGradients]:
    for placement in Grid.of(config).placements:
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
    return signature(
        measure="ln-gradients",
        setting=stack.regime,
        placements=sweep.placements,
        depths=Grid.of(config).depths,
        widths=sweep.widths,
        seeds=sweep.seeds,
        seed=config.compute.seed,
        batch=f"{sweep.batch_size}x{sweep.tokens}",
        classes=sweep.classes,
        ff=stack.feedforward or ("d" if stack.regime == "theorem" else "4d"),
        heads=stack.heads if stack.regime == "transformer" else None,
        gamma=stack.gamma,
        final_norm=stack.final_norm,
        layer_depth=config.layers.depth,
        equations=f"L{exact.depth}d{exact.width}t{exact.tokens}" if config.equations else None,
        task=f"{task.task}-{task.length}of{task.vocabulary}" if trained else None,
        steps=after if config.layers.steps else None,
        train=sizes if config.train else None,
        lr=task.lr if trained else None,
        warmup=task.warmup_steps if trained else None,
        dtype=sweep.dtype,
        precision=config.compute.precision if config.compute.precision != "auto" else None,
    )
