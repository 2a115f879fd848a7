"""A standard error and a 95% interval for log p̂ from the moments of skewed weights.

The mean of weights is unbiased and right-skewed; its logarithm is low on average. Hall's (1992)
cubic transformation removes the skewness from the t-statistic of the mean, and Markov's inequality
bounds the lower end whatever the weights: Pr(log p̂ > log p + b) ≤ e^−b (Burda et al. 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEVEL = 0.95
Z = 1.959963984540054
"""The normal quantile of a two-sided 95% interval."""
MARKOV_NATS = -math.log((1 - LEVEL) / 2)
"""With probability 97.5% log p̂ lies at most this far (3.69 nats) above log p."""


@dataclass(frozen=True)
class Interval:
    """Uncertainty of log p̂, in nats.

    Args:
        std_error: the delta method's √(Var w̄)/w̄ or, where it is larger, the interval's width over
            2 · 1.96.
        low: lower end relative to log p̂, ≤ 0.
        high: upper end relative to log p̂, ≥ 0.
    """

    std_error: float
    low: float
    high: float


def relative_moments(samples: int, sums: tuple[float, float, float]) -> tuple[float, float]:
    """Return the standard error of the mean over the mean, and the mean's skewness.

    Args:
        samples: N.
        sums: Σ w^k for k = 1, 2, 3, relative to any scale.
    """
    if samples < 2:
        return math.inf, 0.0
    first, second, third = (total / samples for total in sums)
    variance = second / first**2 - 1
    # Nearly equal weights: what is left after the cancellation is rounding.
    if variance < 1e-13:
        return 0.0, 0.0
    central = third / first**3 - 3 * second / first**2 + 2
    relative = math.sqrt(variance / (samples - 1))
    return relative, central / (variance**1.5 * math.sqrt(samples))


def log_interval(relative_error: float, skewness: float, *, degrees: float) -> Interval:
    """Turn the mean's relative error and skewness into an interval for its logarithm.

    Args:
        relative_error: standard error of the mean over the mean.
        skewness: of the mean, so third standardised moment of the weights over √N.
        degrees: of freedom of Student's t; few effective samples widen the interval.
    """
    if relative_error == 0:
        return Interval(0.0, 0.0, 0.0)
    y = student_quantile(max(degrees, 2.0))
    low = _log_or(1 - relative_error * _hall(skewness, y), otherwise=-math.inf)
    high = _log_or(1 - relative_error * _hall(skewness, -y), otherwise=math.inf)
    low = max(low, -MARKOV_NATS)
    return Interval(max(relative_error, (high - low) / (2 * Z)), low, high)


def _hall(skewness: float, y: float) -> float:
    """Invert Hall's transformation: the t-statistic whose transform is y.

    P. Hall (1992), "On the removal of skewness by transformation", with a = 1/3 and b = 1/6 and
    the statistic's skewness already divided by √N.
    """
    if abs(skewness) < 1e-6:
        return y
    return (math.cbrt(1 + skewness * (y - skewness / 6)) - 1) * 3 / skewness


def _log_or(value: float, *, otherwise: float) -> float:
    return math.log(value) if value > 0 else otherwise


def student_quantile(degrees: float) -> float:
    """Return the 97.5% quantile of Student's t (G. W. Hill 1970, algorithm 396), to 2e-3.

    Args:
        degrees: ≥ 2, not necessarily whole.
    """
    n, p = degrees, 1 - LEVEL
    a = 1 / (n - 0.5)
    b = (48 / a) / a
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y = (d * p) ** (2 / n)
    if y > 0.05 + a:
        x = -Z
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
