"""Means with deviations or intervals, and slopes of power laws: plain Python, no tensors."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MeanStd:
    """A number over repetitions."""

    mean: float
    std: float | None
    """Sample standard deviation; None for a single one."""


def mean_std(values: Sequence[float]) -> MeanStd:
    """Return mean and sample standard deviation of the finite values."""
    finite = [value for value in values if math.isfinite(value)]
    std = statistics.stdev(finite) if len(finite) > 1 else None
    mean = statistics.fmean(finite) if finite else math.nan
    return MeanStd(mean=mean, std=std)


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Return the mean and its two-sided 95% Student interval (None for one value)."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    half = student_quantile(n - 1) * math.sqrt(variance / n)
    return mean, (mean - half, mean + half)


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


def loglog_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the least-squares slope of log y against log x (all values positive)."""
    a, b = [math.log(v) for v in x], [math.log(v) for v in y]
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    rows = list(zip(a, b, strict=True))
    above = math.fsum((u - mean_a) * (v - mean_b) for u, v in rows)
    return above / math.fsum((u - mean_a) ** 2 for u in a)
