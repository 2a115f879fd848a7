r"""The continuous Bernoulli: a density of grey pixels on [0, 1].

With λ = σ(η), p(x) = C(λ) λˣ (1 − λ)¹⁻ˣ, where C makes it integrate to one (Loaiza-Ganem &
Cunningham 2019, equation 6). In terms of the logit η the normaliser is simple:

    C = 2 artanh(1 − 2λ) / (1 − 2λ) = η / tanh(η / 2)

All functions are elementwise on logits η of any shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_NEAR_ZERO = 0.1  # |η| below which the Taylor series is used: its error there is under 1e-9


def log_normalizer(logits: Tensor) -> Tensor:
    """Return log C, stable near η = 0 (λ = 0.5), where the quotient is 0/0.

    The series is log 2 + η²/12 − 7η⁴/1440 + 31η⁶/90720.
    """
    small = logits.abs() < _NEAR_ZERO
    safe = torch.where(small, torch.ones_like(logits), logits.abs())
    exact = safe.log() - torch.tanh(safe / 2).log()
    square = torch.where(small, logits, torch.zeros_like(logits)).square()
    series = math.log(2) + square * (1 / 12 - square * (7 / 1440 - square * (31 / 90720)))
    return torch.where(small, series, exact)


def mean(logits: Tensor) -> Tensor:
    """Return E[x] = 1/(1 − e^−η) − 1/η, which is nearer to 0.5 than λ is.

    The series near η = 0 is 1/2 + η/12 − η³/720.
    """
    small = logits.abs() < _NEAR_ZERO
    safe = torch.where(small, torch.ones_like(logits), logits)
    exact = -1 / torch.expm1(-safe) - 1 / safe
    near = torch.where(small, logits, torch.zeros_like(logits))
    return torch.where(small, 0.5 + near / 12 - near**3 / 720, exact)


def sample(logits: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw from the density by its inverse distribution function.

    x = log(1 + u (e^η − 1)) / η for uniform u, written so that no exponential overflows.
    """
    u = torch.rand(
        logits.shape, generator=generator, dtype=logits.dtype, device=generator.device
    ).to(logits.device)
    small = logits.abs() < 1e-3
    slope = torch.where(small, torch.ones_like(logits), -logits.abs())
    tail = torch.log1p(u * torch.expm1(slope)) / slope  # from the side where λ < 1/2
    drawn = torch.where(logits > 0, 1 - tail, tail)
    return torch.where(small, u, drawn).clamp(0, 1)
