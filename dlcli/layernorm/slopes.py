"""Slopes on log-log axes with Student intervals over seeds. Plain Python: no tensors."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Slope:
    """A mean slope over seeds.

    Attributes:
        value: mean, or None where a gradient is exactly zero (its logarithm does not exist).
        ci95: 95% Student interval of the mean, or None with fewer than two seeds.
        per_seed: the slope of each seed.
        note: why something is None, in words, or an empty string.
    """

    value: float | None
    ci95: tuple[float, float] | None
    per_seed: tuple[float, ...]
    note: str = ""


def loglog_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the least-squares slope of log y against log x (all values positive)."""
    a, b = [math.log(v) for v in x], [math.log(v) for v in y]
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    rows = list(zip(a, b, strict=True))
    above = math.fsum((u - mean_a) * (v - mean_b) for u, v in rows)
    return above / math.fsum((u - mean_a) ** 2 for u in a)


def slope_over_seeds(x: Sequence[float], rows: Sequence[Sequence[float]]) -> Slope:
    """Fit one slope per seed and average.

    The interval is over seeds, so it covers the draw of weights and data, not a curvature of the
    true dependence, which would show as a trend in the norms themselves.

    Args:
        x: the depths (or widths), at least two different ones.
        rows: for each seed, one norm per value of `x`.
    """
    if len(set(x)) < 2:
        return Slope(value=None, ci95=None, per_seed=(), note="a slope needs two different values")
    if not rows:
        return Slope(value=None, ci95=None, per_seed=(), note="no seed is complete")
    if any(value <= 0 for row in rows for value in row):
        return Slope(value=None, ci95=None, per_seed=(), note="a gradient is exactly zero")
    slopes = tuple(loglog_slope(x, row) for row in rows)
    mean, interval = mean_interval(slopes)
    note = "" if interval else "one seed gives no interval"
    return Slope(value=mean, ci95=interval, per_seed=slopes, note=note)


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Return the mean and its two-sided 95% Student interval (None for one value)."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    half = student_quantile(n - 1) * math.sqrt(variance / n)
    return mean, (mean - half, mean + half)


def geometric_mean(values: Sequence[float]) -> float:
    """Return exp of the mean logarithm; 0 where some value is 0."""
    if any(value <= 0 for value in values):
        return 0.0
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


@functools.cache
def student_quantile(freedom: int, *, probability: float = 0.975) -> float:
    """Return the t below which `probability` (> 1/2) of Student's distribution lies.

    With t = √ν tan θ the distribution function is a plain integral of cos^{ν-1} θ, which Simpson's
    rule integrates to about 1e-9 and bisection inverts.
    """
    half_area = (
        math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2)) / 2
    )
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        inside = _cosine_integral(middle, power=freedom - 1) / half_area / 2
        low, high = (middle, high) if inside < probability - 0.5 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _cosine_integral(upper: float, *, power: int, steps: int = 1000) -> float:
    step = upper / steps
    ends = 1.0 + math.cos(upper) ** power
    odd = math.fsum(math.cos((2 * i + 1) * step) ** power for i in range(steps // 2))
    even = math.fsum(math.cos(2 * i * step) ** power for i in range(1, steps // 2))
    return step / 3 * (ends + 4 * odd + 2 * even)
