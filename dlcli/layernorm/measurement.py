"""One call for `dl ln-gradients`: sweep, per-layer view, equations, lemmas, training.

`run` is a generator of results, each holding all that is known so far. Whoever is interrupted
therefore has the last one in hand, marked `complete=False`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dlcli.engine.config import signature
from dlcli.engine.device import Compute, prepare
from dlcli.engine.loop import Training
from dlcli.engine.seed import generator
from dlcli.errors import RunFailed
from dlcli.layernorm.config import SOURCES, LnGradientsConfig, Placement, validate
from dlcli.layernorm.gradients import (
    LayerNorms,
    check_equation,
    check_lemmas,
    last_layer_norm,
    layer_norms,
)
from dlcli.layernorm.results import (
    TARGETS,
    LayerProfile,
    LayerRow,
    LnGradients,
    PlacementResult,
    Slope,
    WidthSweep,
    geometric_mean,
    judge,
    overall,
    slope_over_seeds,
)
from dlcli.layernorm.stack import Probe, Stack, build_stack, draw_probe, profile_admin
from dlcli.layernorm.training import (
    POINTS,
    SequenceLearner,
    SequenceModel,
    arms,
    build_learner,
    draw_sequences,
    plan,
    train_arms,
)

# -- The sweep behind the theorem's verdict: last-layer gradients over placements, widths, depths
# Seeds are the outermost loop, so an interrupted sweep still has whole seeds, each with a slope.

Norms = dict[tuple[Placement, int], list[list[float]]]
"""(placement, width) → seed by depth."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is measured, in ascending order and without duplicates."""

    placements: tuple[Placement, ...]
    widths: tuple[int, ...]
    depths: tuple[int, ...]

    @classmethod
    def of(cls, config: LnGradientsConfig) -> Grid:
        """Read the grid of a config: every width at every depth, whatever their numbers."""
        sweep = config.sweep
        return cls(
            placements=tuple(dict.fromkeys(sweep.placements)),
            widths=tuple(dict.fromkeys(sweep.widths)),
            depths=tuple(sorted(set(sweep.depths))),
        )


def draw(
    placement: Placement,
    *,
    depth: int,
    width: int,
    index: int,
    config: LnGradientsConfig,
    device: torch.device,
) -> tuple[Stack, Probe]:
    """Draw the stack and the probe of one seed.

    All placements and depths of a seed share the probe and, layer by layer from the input, the
    weights: slopes compare like with like, and spread 1.4 times less over seeds (measured).

    Args:
        placement: where the normalisation stands.
        depth: layers.
        width: features.
        index: 0 … seeds - 1, counted from `--seed`.
        config: everything else.
        device: where to compute.
    """
    sweep, seed = config.sweep, config.compute.seed
    dtype: torch.dtype = getattr(torch, sweep.dtype)
    stack = build_stack(
        placement,
        depth=depth,
        width=width,
        config=config.stack,
        generator=generator(seed, "ln-weights", index, width),
        dtype=dtype,
        device=device,
    )
    probe = draw_probe(
        batch_size=sweep.batch_size,
        tokens=sweep.tokens,
        width=width,
        classes=sweep.classes,
        generator=generator(seed, "ln-probe", index, width),
        dtype=dtype,
        device=device,
    )
    profile_admin(stack, probe.x)
    return stack, probe


def sweep_norms(config: LnGradientsConfig, *, compute: Compute) -> Iterator[Norms]:
    """Yield the norms so far after each complete seed.

    Raises:
        RunFailed: a stack or gradient is not finite in the chosen number format.
    """
    grid = Grid.of(config)
    norms: Norms = {(p, w): [] for p in grid.placements for w in grid.widths}
    for index in range(config.sweep.seeds):
        rows = {key: _row(key, index=index, config=config, compute=compute) for key in norms}
        for key, row in rows.items():
            norms[key].append(row)
        yield {key: list(values) for key, values in norms.items()}


def _row(
    key: tuple[Placement, int], *, index: int, config: LnGradientsConfig, compute: Compute
) -> list[float]:
    placement, width = key
    row = []
    for depth in Grid.of(config).depths:
        stack, probe = draw(
            placement, depth=depth, width=width, index=index, config=config, device=compute.device
        )
        with compute.autocast():
            row.append(last_layer_norm(stack, probe))
    return row


def summarise(norms: Norms, *, grid: Grid) -> dict[str, PlacementResult]:
    """Fit slopes and average norms, placement by placement."""
    return {placement: _placement(placement, norms, grid=grid) for placement in grid.placements}


def _placement(placement: Placement, norms: Norms, *, grid: Grid) -> PlacementResult:
    widths = tuple(
        _width(width, norms[placement, width], depths=grid.depths) for width in grid.widths
    )
    first = widths[0]
    across = slope_over_seeds(grid.widths, _deepest(placement, norms, grid=grid))
    return PlacementResult(
        source=SOURCES[placement],
        width=first.width,
        depths=first.depths,
        last_layer_norm=first.last_layer_norm,
        by_seed=first.by_seed,
        slope=first.slope,
        slope_ci95=first.slope_ci95,
        note=first.note,
        widths=widths,
        width_slope=across.value,
        width_slope_ci95=across.ci95,
    )


def _width(width: int, rows: Sequence[Sequence[float]], *, depths: tuple[int, ...]) -> WidthSweep:
    slope = slope_over_seeds(depths, rows)
    return WidthSweep(
        width=width,
        depths=depths,
        last_layer_norm=tuple(geometric_mean(column) for column in zip(*rows, strict=True)),
        by_seed=tuple(tuple(row) for row in rows),
        slope=slope.value,
        slope_ci95=slope.ci95,
        note=slope.note,
    )


def _deepest(placement: Placement, norms: Norms, *, grid: Grid) -> list[list[float]]:
    """Return seed by width at the deepest depth."""
    columns = [[row[-1] for row in norms[placement, width]] for width in grid.widths]
    return [list(row) for row in zip(*columns, strict=True)]


# -- The gradient of every layer at one depth: at initialisation, and after some training


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
