"""Distributions over latents to sample from instead of the prior.

Shapes: `B` images, `C` mixture components an image, `K` samples, `D` latent dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dlcli.evidence.model import LOG_2PI, log_prior

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
            local = self.means[c] + scale[..., None] * _rows_times(noise, self.factors[c])
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
            squares = _rows_times(z - mean.to(z.dtype), inverse.to(z.dtype)).square().sum(-1)
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


def _rows_times(rows: Tensor, factor: Tensor) -> Tensor:
    """Return factor[b] @ rows[k, b]: (K, B, D), (B, D, D) → (K, B, D)."""
    if factor.shape[0] == 1:
        return rows @ factor[0].mT
    turned: Tensor = torch.einsum("kbd,bed->kbe", rows, factor)
    return turned
