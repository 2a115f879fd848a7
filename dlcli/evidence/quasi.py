"""`control`: the prior average with its points spread evenly instead of at random.

Randomised quasi-Monte Carlo: 16 independently scrambled Sobol sequences (Owen's scrambling as torch
offers it), mapped through the normal quantile. The mean over each is unbiased, and the spread
between the 16 gives the standard error. It helps where the integrand varies over few dimensions
and N is well above ρ: errors fall faster than N^−1/2 at D = 2. It cannot help where N ≪ ρ: evenly
spread points miss a region of 10^−26 of the volume as surely as random ones.

Shapes: `R` replicates, `B` images (1 here), `D` latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from dlcli.errors import UsageFault
from dlcli.evidence.diagnostics import Spread
from dlcli.evidence.estimators import CHUNK_NUMBERS, CHUNK_SAMPLES, rising
from dlcli.evidence.interval import relative_moments
from dlcli.evidence.model import LatentModel, log_likelihood
from dlcli.evidence.stream import RunningWeights, WeightSummary, chunks
from dlcli.evidence.telling import Told, unheard

REPLICATES = 16
MOST_DIMENSIONS = SobolEngine.MAXDIM


def quasi_weights(
    model: LatentModel,
    x: Tensor,
    *,
    samples: Sequence[int],
    generator: torch.Generator,
    told: Told = unheard,
) -> Iterator[tuple[WeightSummary, Spread]]:
    """Average p(x | z) over 16 scrambled Sobol sequences.

    Args:
        model: any model.
        x: one image, (1, M).
        samples: total counts at which to report; those below 32 are left out, and each is rounded
            down to a multiple of 16.
        generator: seeds the scramblings.
        told: hears of samples as they are drawn.

    Yields:
        The pooled weights, and the mean's uncertainty from the replicates.

    Raises:
        UsageFault: several images, or more dimensions than Sobol's tables hold.
        RunFailed: the decoder returned NaN.
    """
    if x.shape[0] != 1 or model.latent_dim > MOST_DIMENSIONS:
        raise UsageFault(
            f"`control` takes one image of at most {MOST_DIMENSIONS} latent dimensions.",
            hint="Leave it out of --estimators.",
        )
    counts = sorted({n // REPLICATES for n in rising(samples) if n >= 2 * REPLICATES})
    if not counts:
        return
    seeds = torch.randint(2**31, (REPLICATES,), generator=generator).tolist()
    make = cast("Callable[..., SobolEngine]", SobolEngine)
    engines = [make(model.latent_dim, scramble=True, seed=seed) for seed in seeds]
    running = RunningWeights(REPLICATES, capacity=counts[-1] * REPLICATES)
    most = max(1, min(CHUNK_SAMPLES, CHUNK_NUMBERS // model.latent_dim) // REPLICATES)
    for size, is_checkpoint in chunks(counts, most=most):
        points = torch.stack([engine.draw(size, dtype=torch.float64) for engine in engines], 1)
        z = _normal(points).to(model.device, model.dtype).flatten(0, 1)[:, None]  # (size·R, 1, D)
        running.update(log_likelihood(model, x, z).view(size, REPLICATES))
        told(size * REPLICATES)
        if is_checkpoint:
            summary = running.summary()
            yield summary.pooled(), replicate_spread(summary.log_mean)


def replicate_spread(log_means: Tensor) -> Spread:
    """Turn the log-means of independent replicates, (R,), into their mean's uncertainty."""
    R = log_means.shape[0]
    means = (log_means - log_means.max()).nan_to_num(0.0).exp()
    sums = (float(means.sum()), float(means.square().sum()), float((means**3).sum()))
    error, skewness = relative_moments(R, sums)
    return Spread(error, skewness, R - 1)


def _normal(points: Tensor) -> Tensor:
    # Points at 0 would map to −inf; Sobol numbers are multiples of 2^−30.
    edge = math.ldexp(1.0, -32)
    normal: Tensor = torch.special.ndtri(points.clamp(edge, 1 - edge))
    return normal
