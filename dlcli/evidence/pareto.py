"""The Pareto k̂ diagnostic: how heavy is the tail of a set of weights?

Zhang & Stephens (2009), "A new and efficient estimation method for the generalized Pareto
distribution", with the weak prior of Pareto-smoothed importance sampling (Vehtari, Simpson,
Gelman, Yao & Gabry): 10 pseudo-observations at k = 0.5. k̂ < 0.5: finite variance; > 0.7: do not
trust; > 1: the mean itself does not settle.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PRIOR_SHAPE = 3.0
PRIOR_COUNT = 10
PRIOR_K = 0.5
FEWEST = 5
"""Exceedances below which no tail is fitted."""


def pareto_k(tail: Tensor) -> float:
    """Fit k̂ to the largest weights.

    Args:
        tail: log-weights in falling order, (T + 1,): the first T are fitted as exceedances over
            the last. Ties with the threshold are left out, and so is what underflows.

    Returns:
        k̂, or inf where fewer than five weights exceed the threshold.
    """
    if tail.numel() <= FEWEST or not math.isfinite(float(tail[0])):
        return math.inf
    relative = tail.double() - tail[0]
    threshold = max(float(relative[-1]), math.log(torch.finfo(torch.float64).tiny))
    above = relative[:-1][relative[:-1] > threshold].flip(0)
    if above.numel() < FEWEST:
        return math.inf
    exceedances = above.exp() - math.exp(threshold)
    return fit_generalized_pareto(exceedances)[0]


def fit_generalized_pareto(exceedances: Tensor) -> tuple[float, float]:
    """Estimate shape and scale of a generalised Pareto distribution.

    Args:
        exceedances: positive, rising, (n,), n ≥ 5.

    Returns:
        k, shrunk towards 0.5 as PSIS does, and σ.
    """
    n = exceedances.numel()
    candidates = 30 + int(math.sqrt(n))
    grid = torch.arange(1, candidates + 1, dtype=torch.float64) - 0.5
    quartile = exceedances[int(n / 4 + 0.5) - 1]
    inverse_scale = 1 / exceedances[-1] + (1 - (candidates / grid).sqrt()) / (
        PRIOR_SHAPE * quartile
    )
    shape = torch.log1p(-inverse_scale[:, None] * exceedances).mean(1)
    profile = n * (torch.log(-inverse_scale / shape) - shape - 1)
    weight = torch.softmax(profile, dim=0)
    best = (weight * inverse_scale).sum()
    k = float(torch.log1p(-best * exceedances).mean())
    shrunk = (n * k + PRIOR_COUNT * PRIOR_K) / (n + PRIOR_COUNT)
    return shrunk, -k / float(best)
