"""Posterior modes and their curvature, for any model with a gradient in z.

Several starts climb log p(x, z) with Adam, Newton steps polish them, and the curvature comes from
central differences of the gradient, all coordinates in one batch: no second derivative is asked of
the decoder.

Shapes: `B` images, `C` starts or modes an image, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlcli.evidence.model import (
    LatentModel,
    log_likelihood,
    log_likelihood_and_gradient,
    log_prior,
    standard_normal,
)
from dlcli.evidence.proposal import DefensiveMixture

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
