"""Xiong et al. 2020, Theorem 1, as a check that measured slopes pass or fail.

At initialisation the gradient of the last layer's second feed-forward matrix is at most O(d √ln d)
with post-norm, whatever the depth L, and at most O(d √(ln d / L)) with pre-norm: slopes 0 and -1/2
on log-log axes. `sweep_norms` measures that gradient over placements, widths and depths;
`summarise` fits the slopes; `judge` holds them against the theorem, which is an upper bound: a
measured slope can be consistent with it and cannot prove it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from dlcli.engine.device import Compute
from dlcli.engine.statistics import loglog_slope, mean_interval
from dlcli.layernorm.config import SOURCES, LnGradientsConfig, Placement, SweepConfig
from dlcli.layernorm.gradients import LayerProfile, LayerRow, draw, last_layer_norm

Verdict = Literal["pass", "fail"]
Interval = tuple[float, float]
TARGETS = {"post": 0.0, "pre": -0.5}
"""Exponent of L in the theorem's bound."""
BOUNDS = {"post": "O(d √ln d), independent of depth", "pre": "O(d √(ln d / L))"}

Norms = dict[tuple[Placement, int], list[list[float]]]
"""(placement, width) → seed by depth."""


def sweep_norms(config: LnGradientsConfig, *, compute: Compute) -> Iterator[Norms]:
    """Yield the norms of the last layer's gradient so far, after each complete seed.

    Seeds are the outermost loop, so an interrupted sweep still has whole seeds, each with a slope.

    Raises:
        RunFailed: a stack or gradient is not finite in the chosen number format.
    """
    sweep = config.sweep
    norms: Norms = {(placement, w): [] for placement in sweep.placements for w in sweep.widths}
    for index in range(sweep.seeds):
        rows: dict[tuple[Placement, int], list[float]] = {key: [] for key in norms}
        for (placement, width), row in rows.items():
            for depth in sweep.depths:
                stack, probe = draw(
                    placement,
                    depth=depth,
                    width=width,
                    index=index,
                    config=config,
                    device=compute.device,
                )
                with compute.autocast():
                    row.append(last_layer_norm(stack, probe))
        norms = {key: [*norms[key], row] for key, row in rows.items()}
        yield norms


@dataclass(frozen=True, kw_only=True)
class WidthSweep:
    """The depths of one placement at one width.

    Attributes:
        width: features d.
        depths: layers, ascending.
        last_layer_norm: norm of the last second feed-forward matrix's gradient at each depth,
            geometric mean over seeds.
        by_seed: the norms themselves, seed by depth.
        slope: mean over seeds of d log norm / d log depth.
        slope_ci95: its 95% Student interval over seeds, None with one seed.
        note: why the slope or its interval is missing.
    """

    width: int
    depths: tuple[int, ...]
    last_layer_norm: tuple[float, ...]
    by_seed: tuple[tuple[float, ...], ...]
    slope: float | None
    slope_ci95: Interval | None
    note: str


@dataclass(frozen=True, kw_only=True)
class PlacementResult(WidthSweep):
    """One placement: the sweep at the first width in the open, all widths beside it."""

    source: str
    per_layer: tuple[LayerRow, ...] = ()
    """At initialisation, with the Gaussian problem."""
    profiles: tuple[LayerProfile, ...] = ()
    """Every condition that was measured, the one of `per_layer` first."""
    widths: tuple[WidthSweep, ...] = ()
    """Every width, the first included."""
    width_slope: float | None = None
    """Mean slope against width at the deepest depth, with two widths or more."""
    width_slope_ci95: Interval | None = None


def summarise(norms: Norms, *, sweep: SweepConfig) -> dict[str, PlacementResult]:
    """Fit slopes and average norms, placement by placement."""
    results: dict[str, PlacementResult] = {}
    for placement in sweep.placements:
        widths = [
            _width_sweep(width, norms[placement, width], depths=sweep.depths)
            for width in sweep.widths
        ]
        deepest = [[row[-1] for row in each.by_seed] for each in widths]
        across = slope_over_seeds(sweep.widths, list(zip(*deepest, strict=True)))
        results[placement] = PlacementResult(
            **vars(widths[0]),
            source=SOURCES[placement],
            widths=tuple(widths),
            width_slope=across.value,
            width_slope_ci95=across.ci95,
        )
    return results


def _width_sweep(
    width: int, rows: Sequence[Sequence[float]], *, depths: tuple[int, ...]
) -> WidthSweep:
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


@dataclass(frozen=True, kw_only=True)
class Slope:
    """A mean slope over seeds.

    Attributes:
        value: mean, or None where a gradient is exactly zero (its logarithm does not exist).
        ci95: 95% Student interval of the mean, or None with fewer than two seeds.
        note: why something is None, in words, or an empty string.
    """

    value: float | None = None
    ci95: Interval | None = None
    note: str = ""


def slope_over_seeds(x: Sequence[float], rows: Sequence[Sequence[float]]) -> Slope:
    """Fit one slope per seed on log-log axes, and average.

    The interval is over seeds, so it covers the draw of weights and data, not a curvature of the
    true dependence, which would show as a trend in the norms themselves.

    Args:
        x: the depths (or widths), at least two different ones.
        rows: for each seed, one norm per value of `x`.
    """
    if len(set(x)) < 2:
        return Slope(note="a slope needs two different values")
    if not rows:
        return Slope(note="no seed is complete")
    if any(value <= 0 for row in rows for value in row):
        return Slope(note="a gradient is exactly zero")
    mean, interval = mean_interval([loglog_slope(x, row) for row in rows])
    return Slope(value=mean, ci95=interval, note="" if interval else "one seed gives no interval")


def geometric_mean(values: Sequence[float]) -> float:
    """Return exp of the mean logarithm; 0 where some value is 0."""
    return statistics.geometric_mean(values) if min(values) > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One half of the theorem against one measured slope.

    Attributes:
        bound: the theorem's bound in words.
        target: the slope that bound has in L.
        tolerance: how far from the target the whole 95% interval may reach.
        slope: measured slope, or None.
        slope_ci95: its interval, or None.
        verdict: `pass` where the interval lies within the tolerance, `fail` where it does not,
            None where there is no interval to judge.
        words: the verdict as a sentence.
    """

    bound: str
    target: float
    tolerance: float
    slope: float | None
    slope_ci95: Interval | None
    verdict: Verdict | None
    words: str


def judge(placement: str, found: WidthSweep, *, tolerance: float) -> Claim:
    """Hold the slope measured for `post` or `pre` against the theorem."""
    target = TARGETS[placement]
    verdict: Verdict | None = None
    words = f"{placement}-norm: undecided, {found.note}"
    if found.slope is not None and found.slope_ci95 is not None:
        low, high = found.slope_ci95
        inside = target - tolerance <= low and high <= target + tolerance
        verdict = "pass" if inside else "fail"
        words = (
            f"{placement}-norm: slope {found.slope:+.3f} (95% interval {low:+.3f} to {high:+.3f}) "
            f"is {'consistent with' if inside else 'outside the tolerance of'} the bound's "
            f"{target:g} ± {tolerance:g} (Xiong et al. 2020, Theorem 1, an upper bound)"
        )
    return Claim(
        bound=BOUNDS[placement],
        target=target,
        tolerance=tolerance,
        slope=found.slope,
        slope_ci95=found.slope_ci95,
        verdict=verdict,
        words=words,
    )


def overall(claims: Sequence[Claim]) -> Verdict | None:
    """Combine: fail if any claim fails, pass if all pass, None where nothing was decided."""
    verdicts = [claim.verdict for claim in claims]
    if "fail" in verdicts:
        return "fail"
    return "pass" if verdicts and None not in verdicts else None
