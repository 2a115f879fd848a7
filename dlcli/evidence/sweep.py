"""An estimator over growing sample counts: its errors, their slope, and what a wish costs.

One pass over a stream of weights visits every count. `run_sweep` visits given counts; those that
cost little are visited by several independent repeats, which show the spread, the largest only
once. `run_to_target` samples until a wanted standard error is reached.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from dlcli.engine.statistics import loglog_slope
from dlcli.evidence.diagnostics import Estimate, WeightSummary, assess

FEWEST_REPEATS = 3
PILOT_SAMPLES = 10_000
APART = 4.0
"""Joint standard errors by which two estimates of one number may differ."""
SETTLED = 10.0
"""How many ρ a count must reach to lie on the −1/2 line."""


class Stream(Protocol):
    """An estimator at work on one image."""

    def __call__(
        self, *, samples: Sequence[int], generator: torch.Generator
    ) -> Iterator[WeightSummary]:
        """Draw weights, and report at the given counts."""


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One sample count.

    Args:
        samples: N.
        estimate: of the first repeat.
        repeats: log p̂ of every repeat, the first included.
        rms_error: root mean square of log p̂ − log p over the repeats, or None without a truth.
    """

    samples: int
    estimate: Estimate
    repeats: tuple[float, ...]
    rms_error: float | None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All sample counts of one estimator.

    Args:
        points: rising in N.
        slope: of log RMS error against log N over the repeated counts; None where fewer than two
            counts have three repeats. −1/2 once N ≫ ρ, nothing in particular before.
        slope_asymptotic: the same over counts of at least 10 ρ alone, repeated or not.
    """

    points: tuple[SweepPoint, ...]
    slope: float | None
    slope_asymptotic: float | None


def run_sweep(
    stream: Stream,
    *,
    name: str,
    counts: Sequence[int],
    generators: Sequence[torch.Generator],
    repeat_up_to: int,
    ceiling: float = math.inf,
    truth: float | None = None,
    log_rho: float | None = None,
) -> Sweep:
    """Visit every count with the first generator, and the cheap ones with all.

    Args:
        stream: the estimator.
        name: of the estimator.
        counts: rising sample counts.
        generators: one a repeat.
        repeat_up_to: the largest count that is repeated.
        ceiling: an upper bound on log p(x).
        truth: log p(x) where it is known.
        log_rho: log ρ where it is known, which tells where the −1/2 line begins.
    """
    first = [
        assess(summary, name=name, ceiling=ceiling)
        for summary in stream(samples=counts, generator=generators[0])
    ]
    cheap = [count for count in counts if count <= repeat_up_to]
    logs: dict[int, list[float]] = {estimate.samples: [estimate.log_p] for estimate in first}
    for repeat in generators[1:] if cheap else ():
        for summary in stream(samples=cheap, generator=repeat):
            logs[summary.samples].append(float(summary.log_mean[0]))
    points = tuple(
        SweepPoint(
            samples=estimate.samples,
            estimate=estimate,
            repeats=tuple(logs[estimate.samples]),
            rms_error=_rms(logs[estimate.samples], truth),
        )
        for estimate in first
    )
    repeated = [point for point in points if len(point.repeats) >= FEWEST_REPEATS]
    settled = [
        point
        for point in points
        if log_rho is not None and math.log(point.samples) >= log_rho + math.log(SETTLED)
    ]
    return Sweep(points=points, slope=fit_slope(repeated), slope_asymptotic=fit_slope(settled))


def fit_slope(points: Sequence[SweepPoint]) -> float | None:
    """Fit the slope of log RMS error against log N by least squares; None for under two points."""
    pairs = [
        (point.samples, point.rms_error)
        for point in points
        if point.rms_error is not None and 0 < point.rms_error < math.inf
    ]
    if len(pairs) < 2:
        return None
    return loglog_slope(*zip(*pairs, strict=True))


def _rms(logs: Sequence[float], truth: float | None) -> float | None:
    if truth is None:
        return None
    return math.sqrt(sum((log - truth) ** 2 for log in logs) / len(logs))


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a wished-for standard error takes.

    Args:
        std_error: the wish, nats.
        reached: whether the estimate has it.
        samples_needed_log10: log10 of the samples it takes, known or extrapolated.
        reason: in words.
    """

    std_error: float
    reached: bool
    samples_needed_log10: float
    reason: str


def run_to_target(
    stream: Stream,
    *,
    name: str,
    target_se: float,
    most: int,
    generators: tuple[torch.Generator, torch.Generator],
    ceiling: float = math.inf,
    log_rho: float | None = None,
    at_least: bool = False,
) -> tuple[Sweep, Target]:
    """Sample until the standard error is reached, or say at once that it would take too many.

    To stop at the first count that looks good is to choose lucky draws. What is reported is
    therefore drawn anew, twice as many; where that does not bear the first out, sampling goes on.

    Args:
        stream: the estimator.
        name: of the estimator.
        target_se: the wish, nats.
        most: samples that may be drawn.
        generators: of the search and of what is reported, the only sources of randomness.
        ceiling: an upper bound on log p(x).
        log_rho: log ρ of the weights where it is known: N ≈ ρ/se².
        at_least: `log_rho` is only a lower bound.
    """
    needed = None if log_rho is None else (log_rho - 2 * math.log(target_se)) / math.log(10)
    hopeless = needed is not None and needed > math.log10(most)
    counts = [min(PILOT_SAMPLES, most)] if hopeless else list(_growing(most))
    points = []
    reached, anew_drawn = False, 0
    for summary in stream(samples=counts, generator=generators[0]):
        estimate = assess(summary, name=name, ceiling=ceiling)
        estimate = replace(estimate, evaluations=estimate.evaluations + anew_drawn)
        points.append(_unrepeated(estimate))
        if not _meets(estimate, target_se):
            continue
        twice = [min(2 * estimate.samples, most)]
        for again in stream(samples=twice, generator=generators[1]):
            anew = assess(again, name=name, ceiling=ceiling)
            reached = _meets(anew, target_se) and _agree(estimate, anew)
            anew_drawn += anew.samples
            anew = replace(anew, evaluations=estimate.samples + anew_drawn)
        if reached:
            points.append(_unrepeated(anew))
            break
        reason = "samples drawn anew do not bear it out"
        points[-1] = _unrepeated(replace(estimate, verdict="doubt", reason=reason))
    last = points[-1].estimate
    if needed is None or not hopeless:
        needed = _extrapolate(last, target_se) if not reached else math.log10(last.samples)
    target = Target(
        std_error=target_se,
        reached=reached,
        samples_needed_log10=needed,
        reason=_in_words(last, target_se, needed, reached=reached, vague=at_least or not hopeless),
    )
    return Sweep(points=tuple(points), slope=None, slope_asymptotic=None), target


def _unrepeated(estimate: Estimate) -> SweepPoint:
    repeats = (estimate.log_p,)
    return SweepPoint(samples=estimate.samples, estimate=estimate, repeats=repeats, rms_error=None)


def _meets(estimate: Estimate, target_se: float) -> bool:
    return estimate.verdict == "trust" and estimate.std_error <= target_se


def _agree(one: Estimate, other: Estimate) -> bool:
    return abs(one.log_p - other.log_p) <= APART * math.hypot(one.std_error, other.std_error)


def _growing(most: int) -> Iterator[int]:
    """Count 1000, 1414, 2000, … up to `most`, so that at most 40% too many are drawn."""
    for step in itertools.count():
        count = min(most, round(1000 * 2 ** (step / 2)))
        yield count
        if count == most:
            return


def _extrapolate(estimate: Estimate, target_se: float) -> float:
    relative = max(estimate.std_error, 1 / math.sqrt(max(estimate.ess, 1.0)))
    return math.log10(estimate.samples) + 2 * math.log10(max(relative / target_se, 1.0))


def _in_words(
    estimate: Estimate, target_se: float, needed: float, *, reached: bool, vague: bool
) -> str:
    if reached:
        return f"{estimate.samples:,} samples give a standard error of {estimate.std_error:.3g}"
    if estimate.std_error <= target_se:
        shown = f"{estimate.samples:,} samples show one of {estimate.std_error:.3g}"
        return f"{shown} that is not to be trusted"
    number = f"10^{needed:.1f}" if needed > 6 else f"{10**needed:,.0f}"
    about = "at least" if vague else "about"
    return f"a standard error of {target_se:g} would take {about} {number} samples"
