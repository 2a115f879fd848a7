"""Decoders whose pixels are Bernoulli (or continuous Bernoulli): f_θ(z) gives a logit a pixel.

The decoder is any callable from latents to logits: a random network here, a trained VAE's decoder
elsewhere.

Shapes: `B` images, `K` latent points an image, `N` rows, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

PixelLikelihood = Literal["bernoulli", "continuous-bernoulli"]

CPU = torch.device("cpu")
CACHE_ROWS = 512
"""Rows decoded at once: their logits (784 × 4 bytes each) fit into a core's cache, so that the
softplus reads what the matrix product has just written (measured: 80–90% of the product's speed,
against 58% when 8,192 rows go through memory)."""


@dataclass(frozen=True, eq=False)
class BernoulliDecoder:
    """p(x | z) = Π_m Bernoulli(x_m; sigmoid(decode(z)_m)), for any `decode`.

    Args:
        decode: (N, D) → (N, M) logits, differentiable.
        latent_dim: D.
        likelihood: `continuous-bernoulli` gives grey pixels a true density
            (Loaiza-Ganem & Cunningham 2019); `bernoulli` reads them as expected bits.
        block_rows: rows decoded at once when no gradient is wanted.
    """

    decode: Callable[[Tensor], Tensor]
    latent_dim: int
    name: str = "bernoulli"
    dtype: torch.dtype = torch.float32
    device: torch.device = CPU
    likelihood: PixelLikelihood = "bernoulli"
    block_rows: int = CACHE_ROWS

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z) in nats, (K, B), for z of shape (K, B or 1, D)."""
        if torch.is_grad_enabled() and z.requires_grad:
            return self._block(x, z)
        points = max(1, self.block_rows // z.shape[1])
        parts = [self._block(x, part) for part in torch.split(z, points)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _block(self, x: Tensor, z: Tensor) -> Tensor:
        K, shared, D = z.shape
        logits = self.decode(z.reshape(K * shared, D))  # (K·B or K, M)
        normalizer = self._log_normalizer(logits).sum(-1).view(K, shared)
        if shared == 1:
            return logits @ x.T - normalizer
        return torch.einsum("kbm,bm->kb", logits.view(K, shared, -1), x) - normalizer

    def _log_normalizer(self, logits: Tensor) -> Tensor:
        if self.likelihood == "bernoulli":
            return F.softplus(logits)
        return F.softplus(logits) - log_continuous_constant(logits)

    def draw(self, z: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw x | z: (B, D) → (B, M), zeros and ones (grey for the continuous Bernoulli)."""
        logits = self.decode(z)
        uniform = torch.rand(logits.shape, generator=generator, dtype=logits.dtype)
        uniform = uniform.to(logits.device)
        if self.likelihood == "bernoulli":
            return (uniform < torch.sigmoid(logits)).to(logits.dtype)
        flat = logits.abs() < 1e-3
        safe = torch.where(flat, torch.ones_like(logits), logits)
        # The inverse of the distribution function log1p(u (e^l − 1)) / l, without overflow.
        drawn = torch.logaddexp(torch.log(uniform) + safe, torch.log1p(-uniform)) / safe
        return torch.where(flat, uniform, drawn)

    def ceiling(self, x: Tensor) -> Tensor:
        """Return an upper bound on log p(x | z): minus the pixels' entropy, or inf: (B,)."""
        if self.likelihood != "bernoulli":
            return torch.full(x.shape[:1], math.inf, dtype=torch.float64, device=x.device)
        wide = x.double()
        entropy: Tensor = torch.special.entr(wide) + torch.special.entr(1 - wide)
        return -entropy.sum(-1)


def log_continuous_constant(logits: Tensor) -> Tensor:
    """Return log C(λ) of the continuous Bernoulli in terms of its logit l: log(l / tanh(l/2)).

    Loaiza-Ganem & Cunningham 2019, equation 5, with 2·atanh(1 − 2λ) = −l and 1 − 2λ = −tanh(l/2).
    """
    small = logits.abs() < 1e-2
    safe = torch.where(small, torch.ones_like(logits), logits)
    far = torch.log(safe / torch.tanh(0.5 * safe))
    return torch.where(small, math.log(2.0) + logits.square() / 12, far)


def random_decoder(
    latent_dim: int,
    *,
    generator: torch.Generator,
    hidden: Sequence[int] = (350,),
    pixels: int = 784,
    logit_scale: float = 2.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
) -> BernoulliDecoder:
    """Draw a ReLU network D → hidden → M with He-scaled Gaussian weights.

    Args:
        logit_scale: standard deviation of a logit over z and θ, roughly; at 0 the image says
            nothing of z, at 2 most pixels are nearly decided.
    """
    sizes = [latent_dim, *hidden, pixels]
    layers = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        gain = logit_scale if i == len(sizes) - 2 else 1.0
        # Inputs of all but the first layer are rectified, which halves their second moment.
        spread = gain * math.sqrt((1.0 if i == 0 else 2.0) / fan_in)
        weight = spread * torch.randn(fan_out, fan_in, generator=generator, dtype=torch.float64)
        bias = 0.1 * spread * torch.randn(fan_out, generator=generator, dtype=torch.float64)
        # Rounded to float32 first, so that the float64 model is the same function, only finer.
        rounded = (weight.float(), bias.float())
        layers.append(tuple(part.to(device, dtype) for part in rounded))

    def decode(z: Tensor) -> Tensor:
        for weight, bias in layers[:-1]:
            z = F.relu(F.linear(z, weight, bias))
        return F.linear(z, *layers[-1])

    return BernoulliDecoder(decode, latent_dim, dtype=dtype, device=device)
