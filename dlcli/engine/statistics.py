"""Means with deviations or intervals, and slopes of power laws: plain Python, no tensors."""

from __future__ import annotations

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


NORMAL_QUANTILE = 1.959963984540054
"""Below which 97.5% of a standard normal distribution lie."""


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Return the mean and its two-sided 95% Student interval (None for one value)."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    half = student_quantile(n - 1) * math.sqrt(variance / n)
    return mean, (mean - half, mean + half)


def student_quantile(degrees: float) -> float:
    """Return the 97.5% quantile of Student's t, exact for 1 and 2 degrees of freedom.

    Elsewhere G. W. Hill (1970), algorithm 396: to 1e-6 from 3 degrees on, to 4e-4 below.

    Args:
        degrees: of freedom, 1, or at least 2 and not necessarily whole.
    """
    n, p = degrees, 0.05
    if n == 1:
        return 1 / math.tan(math.pi * p / 2)
    if n == 2:
        return math.sqrt(2 / (p * (2 - p)) - 2)
    a = 1 / (n - 0.5)
    b = (48 / a) / a
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y = (d * p) ** (2 / n)
    if y > 0.05 + a:
        x = -NORMAL_QUANTILE
        y = x * x
        if n < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c += (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y * y)
    else:
        inner = (n + 6) / (n * y) - 0.089 * d - 0.822
        y = ((1 / (inner * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (n + 2) + 1 / y
    return math.sqrt(n * y)


def loglog_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the least-squares slope of log y against log x (all values positive)."""
    a, b = [math.log(v) for v in x], [math.log(v) for v in y]
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    rows = list(zip(a, b, strict=True))
    above = math.fsum((u - mean_a) * (v - mean_b) for u, v in rows)
    return above / math.fsum((u - mean_a) ** 2 for u in a)
