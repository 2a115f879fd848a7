"""How far may an estimate of log p(x) be trusted? The numbers, and a verdict in words.

The verdict rests on how many samples the weights are worth (ESS) and on the tail of *those that
carry the sum*. The textbook k̂ looks at the 3√N largest of all N weights: with the prior's bounded
weights most of these carry nothing while N/ρ is in the hundreds, and their spread over many orders
of magnitude reads as k̂ ≫ 1 though the estimate is good to 10%. It is reported (and agrees with
other tools), but the verdict fits the same distribution to at most ESS weights. Where N ≈ ESS the
two are the same. Measured: bounded weights with N/ρ ≥ 100 then never show k̂ > 0.7 at D ≤ 6, and a
Pareto tail of k = 0.9 does in 94% of sets of 20,000 (with 3√ESS weights only in half).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from dlcli.evidence.interval import Interval, log_interval, relative_moments
from dlcli.evidence.pareto import pareto_k
from dlcli.evidence.stream import WeightSummary, tail_length

Verdict = Literal["trust", "doubt", "reject"]

ENOUGH_ESS = 60.0
"""Effective samples for trust: cases with exact N/ρ ≥ 100 seldom show fewer."""
TOO_LITTLE_ESS = 5.0
"""Effective samples below which the weights say nothing about those not seen."""
FEWEST_SAMPLES = 32
HEAVY_K, HOPELESS_K = 0.7, 1.0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One estimate of log p(x), in nats, with what is needed to judge it.

    Args:
        name: of the estimator.
        samples: weights averaged (chains, for annealing).
        log_p: the estimate; low on average. -inf where every weight was zero.
        std_error: on the log scale; inf where nothing bounds it.
        ci95: a 95% interval for log p(x), honest for skewed weights.
        ess: effective sample size, (Σw)²/Σw².
        max_weight: the largest weight's share of the sum.
        pareto_k: PSIS's k̂ of all weights; inf where too few differ.
        tail_k: k̂ of the weights that carry the sum, on which the verdict rests.
        verdict: trust, doubt or reject, and `reason` says why.
        evaluations: decoder evaluations spent (a gradient counts as one).
        details: what this estimator alone has to tell, such as its schedule.
    """

    name: str
    samples: int
    log_p: float
    std_error: float
    ci95: tuple[float, float]
    ess: float
    max_weight: float
    pareto_k: float
    tail_k: float
    verdict: Verdict
    reason: str
    evaluations: int = 0
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """The mean weight's uncertainty, where it does not follow from independent weights.

    Args:
        relative_error: standard error of the mean over the mean.
        skewness: of the mean.
        degrees: of freedom in `relative_error`.
    """

    relative_error: float
    skewness: float
    degrees: float


def assess(
    summary: WeightSummary,
    *,
    name: str,
    ceiling: float = math.inf,
    evaluations: int | None = None,
    spread: Spread | None = None,
    details: dict[str, object] | None = None,
) -> Estimate:
    """Judge the weights of one image.

    Args:
        summary: of one column.
        name: of the estimator.
        ceiling: an upper bound on log p(x) that holds whatever the samples say, or inf. It ends
            the interval of a rejected estimate: weights that missed the mass cannot bound it.
        evaluations: decoder evaluations; one a sample if not given.
        spread: the uncertainty where the samples depend on each other.
        details: passed on.
    """
    n, log_p = summary.samples, float(summary.log_mean[0])
    ess, share = float(summary.ess[0]), float(summary.max_share[0])
    k_all = pareto_k(summary.tail[: tail_length(n) + 1, 0])
    k_mass = pareto_k(summary.tail[: min(int(ess), tail_length(n)) + 1, 0])
    spread = spread or _independent(summary)
    even = spread.relative_error == 0.0
    verdict, reason = _judge(n, ess=ess, share=share, k=k_mass, even=even)
    if verdict == "trust" and HEAVY_K < k_all < math.inf:
        reason += f"; k̂ {k_all:.1f} is of weights that carry nothing, k̂ of the rest {k_mass:.2f}"
    interval = log_interval(spread.relative_error, spread.skewness, degrees=spread.degrees)
    if verdict == "reject":
        interval = _ceilinged(interval, room=max(ceiling - log_p, 0.0))
    return Estimate(
        name=name,
        samples=n,
        log_p=log_p,
        std_error=interval.std_error,
        ci95=(log_p + interval.low, log_p + interval.high),
        ess=ess,
        max_weight=share,
        pareto_k=k_all,
        tail_k=k_mass,
        verdict=verdict,
        reason=reason,
        evaluations=n if evaluations is None else evaluations,
        details=details or {},
    )


def _independent(summary: WeightSummary) -> Spread:
    first, second, third = (float(total) for total in summary.sums[:, 0])
    if first == 0.0:
        return Spread(math.inf, 0.0, 1.0)
    error, skewness = relative_moments(summary.samples, (first, second, third))
    return Spread(error, skewness, min(float(summary.ess[0]), summary.samples) - 1)


def _ceilinged(interval: Interval, *, room: float) -> Interval:
    low = interval.low if math.isfinite(interval.low) else -math.inf
    return Interval(max(interval.std_error, (room - low) / 3.92), low, max(room, 0.0))


def _judge(n: int, *, ess: float, share: float, k: float, even: bool) -> tuple[Verdict, str]:
    worth = f"{n:,} samples are worth " + (f"{ess:,.0f}" if ess >= 10 else f"{ess:.1f}")
    if math.isnan(ess) or ess == 0.0:
        return "reject", f"none of {n:,} samples explains the image: every weight is zero"
    if even and n > 1:
        return "trust", f"all {n:,} weights are equal: the estimate is exact"
    if share > 0.5:
        return "reject", f"one of {n:,} samples carries {share:.0%} of the weight"
    if ess < TOO_LITTLE_ESS:
        return "reject", f"{worth}: those not drawn may weigh more than all that were"
    if HOPELESS_K < k < math.inf:
        return "reject", f"the tail is too heavy for the mean to settle (k̂ {k:.2f} > 1)"
    if HEAVY_K <= k < math.inf:
        return "doubt", f"the tail is heavy (k̂ {k:.2f} > 0.7): rare samples may still raise it"
    if n < FEWEST_SAMPLES:
        return "doubt", f"{n:,} samples are too few to know their spread"
    if ess < min(ENOUGH_ESS, n / 2):
        return "doubt", f"{worth}, with up to {share:.0%} of the weight on one"
    return "trust", f"{worth} and none carries more than {share:.2g} of the weight"
