"""Estimates of log p(x) by averaging independent weights over a stream of chunks.

`prior`: z ~ N(0, I), w = p(x | z): the seed's Question 2. `importance`: z ~ q, w = p(x, z)/q(z):
with the encoder's q this is the IWAE bound (Burda, Grosse & Salakhutdinov 2016). Both visit every
sample count of a sweep in one pass, in memory that does not grow with it.

Shapes: `B` images, `K` samples of a chunk, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from dlcli.errors import UsageFault
from dlcli.evidence.model import LatentModel, log_likelihood, log_prior, standard_normal
from dlcli.evidence.proposal import Proposal
from dlcli.evidence.stream import RunningWeights, WeightSummary, chunks
from dlcli.evidence.telling import Told, unheard

CHUNK_NUMBERS = 2_000_000
"""Latent coordinates drawn at once (16 MB in float64)."""
CHUNK_SAMPLES = 32_768


def prior_weights(
    model: LatentModel,
    x: Tensor,
    *,
    samples: Sequence[int],
    generator: torch.Generator,
    told: Told = unheard,
) -> Iterator[WeightSummary]:
    """Average p(x | z) over the prior, all images sharing the same z.

    Args:
        model: any model.
        x: images, (B, M).
        samples: sample counts at which to report, rising.
        generator: the only source of randomness.
        told: hears of samples as they are drawn.

    Yields:
        A summary of B columns at every count.

    Raises:
        UsageFault: no sample count, or one below 1.
        RunFailed: the decoder returned NaN.
    """

    def draw(count: int) -> Tensor:
        z = standard_normal(model, (count, 1, model.latent_dim), generator=generator)
        return log_likelihood(model, x, z)

    width = model.latent_dim
    yield from _stream(draw, columns=x.shape[0], width=width, samples=samples, told=told)


def importance_weights(
    model: LatentModel,
    x: Tensor,
    *,
    proposal: Proposal,
    samples: Sequence[int],
    generator: torch.Generator,
    told: Told = unheard,
) -> Iterator[WeightSummary]:
    """Average p(x, z)/q(z) over a proposal q, each image with its own z.

    Args:
        model: any model.
        x: images, (B, M).
        proposal: q(z | x) for the same B images.
        samples: sample counts at which to report, rising.
        generator: the only source of randomness.
        told: hears of samples as they are drawn.

    Yields:
        A summary of B columns at every count.

    Raises:
        UsageFault: no sample count, or one below 1.
        RunFailed: the decoder returned NaN.
    """

    def draw(count: int) -> Tensor:
        z = proposal.draw(count, generator=generator).to(model.dtype)
        return log_likelihood(model, x, z) + log_prior(z) - proposal.log_density(z)

    width = model.latent_dim * x.shape[0]
    yield from _stream(draw, columns=x.shape[0], width=width, samples=samples, told=told)


def _stream(
    draw: Callable[[int], Tensor],
    *,
    columns: int,
    width: int,
    samples: Sequence[int],
    told: Told,
) -> Iterator[WeightSummary]:
    checked = rising(samples)
    running = RunningWeights(columns, capacity=checked[-1])
    most = max(1, min(CHUNK_SAMPLES, CHUNK_NUMBERS // width))
    for size, is_checkpoint in chunks(checked, most=most):
        running.update(draw(size))
        told(size)
        if is_checkpoint:
            yield running.summary()


def rising(samples: Sequence[int]) -> list[int]:
    """Sort sample counts and drop repeated ones.

    Raises:
        UsageFault: there are none, or one is below 1.
    """
    ordered = sorted(set(samples))
    if not ordered or ordered[0] < 1:
        shown = ordered[0] if ordered else "none"
        raise UsageFault(
            f"The number of samples must be at least 1, not {shown}.",
            hint="Give --samples one or more positive numbers.",
        )
    return ordered
