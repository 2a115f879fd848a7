"""Estimates of log p(x) by averaging independent weights over a stream of chunks.

`prior_weights`: z ~ N(0, I), w = p(x | z): the assignment's Question 2. `importance_weights`:
z ~ q, w = p(x, z)/q(z): with the encoder's q this is the IWAE bound (Burda, Grosse & Salakhutdinov
2016), without one q is a mixture of Gaussians around the posterior's modes (`laplace_proposal`).
`quasi_weights`: the prior average with its points spread evenly instead of at random. All visit
every sample count of a sweep in one pass, in memory that does not grow with it.

Shapes: `B` images, `K` samples of a chunk, `R` replicates, `C` mixture components, starts or modes
an image, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from dlcli.engine.events import no_progress
from dlcli.errors import UsageFault
from dlcli.evidence.diagnostics import (
    RunningWeights,
    Spread,
    WeightSummary,
    chunks,
    relative_moments,
)
from dlcli.evidence.models import (
    LOG_2PI,
    LatentModel,
    log_likelihood,
    log_likelihood_and_gradient,
    log_prior,
    standard_normal,
)
from dlcli.evidence.progress import CountCallback

CHUNK_NUMBERS = 2_000_000
"""Latent coordinates drawn at once (16 MB in float64)."""
CHUNK_SAMPLES = 32_768


def prior_weights(
    model: LatentModel,
    x: Tensor,
    *,
    samples: Sequence[int],
    generator: torch.Generator,
    progress: CountCallback = no_progress,
) -> Iterator[WeightSummary]:
    """Average p(x | z) over the prior, all images sharing the same z.

    Args:
        model: any model.
        x: images, (B, M).
        samples: sample counts at which to report, rising.
        generator: the only source of randomness.
        progress: is called with the number of samples as they are drawn.

    Yields:
        A summary of B columns at every count.

    Raises:
        UsageFault: no sample count, or one below 1.
        RunFailed: the decoder returned NaN.
    """

    draw, width = _prior_draw(model, x, generator=generator), model.latent_dim
    yield from _stream(draw, columns=x.shape[0], width=width, samples=samples, progress=progress)


def first_prior_weights(
    model: LatentModel,
    x: Tensor,
    *,
    samples: Sequence[int],
    most: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the first log-weights, (K, B), that `prior_weights` averages; K ≤ `most`.

    The arguments are those of `prior_weights`; it draws the same only for the same `samples`.
    """
    draw, parts, count = _prior_draw(model, x, generator=generator), [], 0
    for size, _ in chunks(rising(samples), most=_chunk(model.latent_dim)):
        parts.append(draw(size))
        count += size
        if count >= most:
            break
    return torch.cat(parts)[:most]


def _prior_draw(
    model: LatentModel, x: Tensor, *, generator: torch.Generator
) -> Callable[[int], Tensor]:
    def draw(count: int) -> Tensor:
        z = standard_normal(model, (count, 1, model.latent_dim), generator=generator)
        return log_likelihood(model, x, z)

    return draw


def importance_weights(
    model: LatentModel,
    x: Tensor,
    *,
    proposal: Proposal,
    samples: Sequence[int],
    generator: torch.Generator,
    progress: CountCallback = no_progress,
) -> Iterator[WeightSummary]:
    """Average p(x, z)/q(z) over a proposal q, each image with its own z.

    Args:
        model: any model.
        x: images, (B, M).
        proposal: q(z | x) for the same B images.
        samples: sample counts at which to report, rising.
        generator: the only source of randomness.
        progress: is called with the number of samples as they are drawn.

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
    yield from _stream(draw, columns=x.shape[0], width=width, samples=samples, progress=progress)


def _stream(
    draw: Callable[[int], Tensor],
    *,
    columns: int,
    width: int,
    samples: Sequence[int],
    progress: CountCallback,
) -> Iterator[WeightSummary]:
    checked = rising(samples)
    running = RunningWeights(columns, capacity=checked[-1])
    for size, is_checkpoint in chunks(checked, most=_chunk(width)):
        running.update(draw(size))
        progress(size)
        if is_checkpoint:
            yield running.summary()


def _chunk(width: int) -> int:
    return max(1, min(CHUNK_SAMPLES, CHUNK_NUMBERS // width))


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


REPLICATES = 16
MOST_DIMENSIONS = SobolEngine.MAXDIM


def quasi_weights(
    model: LatentModel,
    x: Tensor,
    *,
    samples: Sequence[int],
    generator: torch.Generator,
    progress: CountCallback = no_progress,
) -> Iterator[WeightSummary]:
    """Average p(x | z) over 16 scrambled Sobol sequences: `control`.

    Randomised quasi-Monte Carlo: independently scrambled sequences (Owen's scrambling as torch
    offers it), mapped through the normal quantile. The mean over each is unbiased, and the spread
    between the 16 gives the standard error. It helps where the integrand varies over few dimensions
    and N is well above ρ: errors fall faster than N^−1/2 at D = 2. It cannot help where N ≪ ρ:
    evenly spread points miss a region of 10^−26 of the volume as surely as random ones.

    Args:
        model: any model.
        x: one image, (1, M).
        samples: total counts at which to report; those below 32 are left out, and each is rounded
            down to a multiple of 16.
        generator: seeds the scramblings.
        progress: is called with the number of samples as they are drawn.

    Yields:
        A summary of the pooled weights, its `spread` from the replicates.

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
        progress(size * REPLICATES)
        if is_checkpoint:
            summary = running.summary()
            yield replace(summary.pooled(), spread=replicate_spread(summary.log_mean))


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


WIDE_SCALE = 1.5
NARROW_SHARE, WIDE_SHARE, PRIOR_SHARE = 0.75, 0.15, 0.10


class Proposal(Protocol):
    """A normalised density over the latents of each of B images."""

    def draw(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw `count` latents an image: (count, B, D)."""

    def log_density(self, z: Tensor) -> Tensor:
        """Return log q(z) in nats: (K, B, D) → (K, B)."""


@dataclass(frozen=True, eq=False)
class DiagonalGaussian:
    """An encoder's q(z | x): N(mean, diag(exp(logvar))), both (B, D)."""

    mean: Tensor
    logvar: Tensor

    def draw(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw (count, B, D)."""
        shape = (count, *self.mean.shape)
        noise = torch.randn(shape, generator=generator, dtype=self.mean.dtype)
        return self.mean + torch.exp(0.5 * self.logvar) * noise.to(self.mean.device)

    def log_density(self, z: Tensor) -> Tensor:
        """Return log q(z): (K, B, D) → (K, B)."""
        squares = (z - self.mean).square() * torch.exp(-self.logvar)
        return -0.5 * (squares + self.logvar + LOG_2PI).sum(-1)


@dataclass(frozen=True, eq=False)
class DefensiveMixture:
    """Gaussians around posterior modes at two widths, and the prior.

    Keeping a share of the prior bounds the weights by 10 · max p(x | z), whatever the Gaussians
    miss (Hesterberg 1995, "Weighted average importance sampling and defensive mixture
    distributions"); the wider copy covers tails a little heavier than the curvature at the mode
    says. When the Gaussian is exact this costs a quarter of the samples.

    Args:
        means: (C, B, D).
        factors: lower triangular L with covariance L Lᵀ, (C, B, D, D).
        log_shares: log of each component's share, (C, B), summing to one over C.
    """

    means: Tensor
    factors: Tensor
    log_shares: Tensor

    def draw(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw (count, B, D)."""
        C, B, D = self.means.shape
        noise = torch.randn(count, B, D, generator=generator, dtype=self.means.dtype)
        uniform = torch.rand(2, count, B, generator=generator, dtype=self.means.dtype)
        noise, uniform = noise.to(self.means.device), uniform.to(self.means.device)
        edges = self.log_shares.exp().cumsum(0)[:-1]  # (C − 1, B)
        which = (uniform[0] > edges[:, None]).sum(0)  # (K, B)
        scale = torch.where(uniform[1] > NARROW_SHARE, WIDE_SCALE, 1.0).to(noise.dtype)
        z = noise.clone()
        for c in range(C):
            local = self.means[c] + scale[..., None] * rotate(noise, self.factors[c].mT)
            z = torch.where((which == c)[..., None], local, z)
        from_prior = uniform[1] > 1 - PRIOR_SHARE
        return torch.where(from_prior[..., None], noise, z)

    def log_density(self, z: Tensor) -> Tensor:
        """Return log q(z): (K, B, D) → (K, B)."""
        D = z.shape[-1]
        terms = [log_prior(z) + math.log(PRIOR_SHARE)]
        for mean, inverse, factor, log_share in zip(
            self.means, self._inverses(), self.factors, self.log_shares, strict=True
        ):
            squares = rotate(z - mean.to(z.dtype), inverse.to(z.dtype).mT).square().sum(-1)
            log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # (B,)
            constant = log_share - log_det - 0.5 * D * LOG_2PI  # (B,)
            wide = math.log(WIDE_SHARE) - D * math.log(WIDE_SCALE)
            terms.append(constant + math.log(NARROW_SHARE) - 0.5 * squares)
            terms.append(constant + wide - 0.5 * squares / WIDE_SCALE**2)
        return torch.logsumexp(torch.stack(terms), dim=0)

    def _inverses(self) -> Tensor:
        eye = torch.eye(self.means.shape[-1], dtype=self.means.dtype, device=self.means.device)
        inverses: Tensor = torch.linalg.solve_triangular(
            self.factors, eye.expand_as(self.factors), upper=False
        )
        return inverses


def rotate(rows: Tensor, matrix: Tensor) -> Tensor:
    """Multiply each image's rows by its matrix: (K, B, D), (B, D, E) → (K, B, E)."""
    if matrix.shape[0] == 1:
        return rows @ matrix[0]
    return torch.einsum("kbd,bde->kbe", rows, matrix)


STARTS = 8
ADAM_STEPS = 150
NEWTON_STEPS = 4
SAME_MODE = 0.5
"""Starts that end closer than this, in posterior standard deviations, found the same mode."""
SMALLEST_CURVATURE = 0.5
"""Floor on the eigenvalues of −∇² log p(x, z), of which the prior alone gives 1."""
FIRST_STEP = 0.1
PASSES = 2


def laplace_proposal(
    model: LatentModel, x: Tensor, *, generator: torch.Generator, starts: int = STARTS
) -> DefensiveMixture:
    """Fit a defensive mixture of Gaussians to the posterior modes of each image.

    Several starts climb log p(x, z) with Adam, Newton steps polish them, and the curvature comes
    from central differences of the gradient, all coordinates in one batch: the decoder need not
    have second derivatives.

    Args:
        model: any model; its log-likelihood must be differentiable almost everywhere in z.
        x: images, (B, M).
        generator: draws the starting points from the prior.
        starts: climbs an image.

    Raises:
        RunFailed: the decoder returned NaN.
    """
    z = find_modes(model, x, generator=generator, starts=starts)  # (C, B, D)
    precision = torch.stack([curvature(model, x, mode) for mode in z])
    height = log_likelihood(model, x, z).double() + log_prior(z).double()
    z, precision, height = _merge(z.double(), precision, height)
    factors = torch.linalg.cholesky(torch.linalg.inv(precision))
    volume = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # (C, B)
    shares = torch.log_softmax(height + volume, dim=0)
    dtype = model.dtype
    return DefensiveMixture(z.to(dtype), factors.to(dtype), shares.to(dtype))


def find_modes(
    model: LatentModel, x: Tensor, *, generator: torch.Generator, starts: int = STARTS
) -> Tensor:
    """Climb log p(x, z) from the origin and from draws of the prior: (C, B, D)."""
    z = standard_normal(model, (starts, x.shape[0], model.latent_dim), generator=generator)
    z[0] = 0.0
    z = _climb(model, x, z)
    for c in range(starts):
        z[c] = _polish(model, x, z[c])
    return z


def curvature(model: LatentModel, x: Tensor, z: Tensor) -> Tensor:
    """Return −∇²_z log p(x, z) as seen at the posterior's own width: (B, D) → (B, D, D), float64.

    A first pass finds the axes; the second differences the gradient along each axis i over ±1/√λ_i,
    one posterior standard deviation, so that what a Gaussian must match is matched. (ReLU networks
    have their modes on kinks, where infinitesimal differences see only the kink.)
    """
    B, D = z.shape
    eye = torch.eye(D, dtype=torch.float64, device=z.device).expand(B, D, D)
    rough = _differences(model, x, z, eye * FIRST_STEP) / FIRST_STEP
    for _ in range(PASSES):
        values, axes = _clamped_eigh(rough)
        steps = values.rsqrt()
        rows = _differences(model, x, z, steps[..., None] * axes.mT)  # along axis i: (B, D, D)
        along = (rows @ axes) / steps[..., None]
        rough = axes @ (0.5 * (along + along.mT)) @ axes.mT
    values, axes = _clamped_eigh(rough)
    return (axes * values[:, None]) @ axes.mT


def _differences(model: LatentModel, x: Tensor, z: Tensor, moves: Tensor) -> Tensor:
    """Return half the change of −∇ log p(x, z) between z − move and z + move: (B, D, D) rows."""
    nudges = moves.permute(1, 0, 2).to(z.dtype)  # (D, B, D)
    _, ahead = log_likelihood_and_gradient(model, x, z + nudges)
    _, behind = log_likelihood_and_gradient(model, x, z - nudges)
    return moves - (0.5 * (ahead - behind)).double().permute(1, 0, 2)


def _clamped_eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    values, axes = torch.linalg.eigh(0.5 * (matrix + matrix.mT))
    return values.clamp_min(SMALLEST_CURVATURE), axes


def _climb(model: LatentModel, x: Tensor, z: Tensor) -> Tensor:
    first, second = torch.zeros_like(z), torch.zeros_like(z)
    for step in range(ADAM_STEPS):
        _, gradient = log_likelihood_and_gradient(model, x, z)
        uphill = gradient - z
        first.lerp_(uphill, 0.1)
        second.lerp_(uphill.square(), 0.05)
        unbias = (1 - 0.95 ** (step + 1)) ** 0.5 / (1 - 0.9 ** (step + 1))
        rate = 0.3 * (1 - step / ADAM_STEPS)
        z = z + rate * unbias * first / (second.sqrt() + 1e-8)
    return z


def _polish(model: LatentModel, x: Tensor, z: Tensor) -> Tensor:
    """Take Newton steps, halved until they climb: (B, D) → (B, D)."""
    for _ in range(NEWTON_STEPS):
        precision = curvature(model, x, z)
        value, gradient = log_likelihood_and_gradient(model, x, z[None])
        uphill = (gradient[0] - z).double()
        move = torch.linalg.solve(precision, uphill[..., None])[..., 0].to(z.dtype)
        scales = (0.5 ** torch.arange(8, dtype=z.dtype, device=z.device))[:, None, None]
        tried = z + scales * move  # (8, B, D)
        heights = log_likelihood(model, x, tried) + log_prior(tried)
        best, which = heights.max(0)
        better = best > value[0] + log_prior(z)
        chosen = tried[which, torch.arange(z.shape[0], device=z.device)]
        z = torch.where(better[:, None], chosen, z)
    return z


def _merge(z: Tensor, precision: Tensor, height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Drop modes found twice, or too low to matter, in every image; the best come first."""
    order = height.argsort(dim=0, descending=True)  # (C, B)
    columns = torch.arange(z.shape[1], device=z.device)
    z, precision = z[order, columns], precision[order, columns]
    height = height[order, columns]
    kept = [0]
    for c in range(1, z.shape[0]):
        new = height[c] > height[0] - 30
        for k in kept:
            gap = z[c] - z[k]
            distance = torch.einsum("bd,bde,be->b", gap, precision[k], gap)
            new &= distance > SAME_MODE**2 * z.shape[-1]
        if bool(new.any()):
            kept.append(c)
    return z[kept], precision[kept], height[kept]
