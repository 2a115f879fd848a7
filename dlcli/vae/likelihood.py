"""p(x|z): what a decoder's outputs, its logits, say of pixels.

- `Bernoulli`: black and white pixels; grey ones make of it the cross-entropy that the assignment
  trains on, which is no likelihood;
- `ContinuousBernoulli`: a density of grey pixels;
- `Logistic`: a distribution of the 256 levels of a byte, the usual one of colour.

The rest of the program knows only `Likelihood`, and finds a model's own as `vae.likelihood`.

Legend: M numbers of an image (its pixels, times three in colour), C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae.config import LikelihoodName

LEVELS = 255
"""Steps between the values of a byte."""


def wide(values: Tensor) -> Tensor:
    """Leave float32 and float64 as they are, and widen what autocast narrowed."""
    return values if values.dtype == torch.float64 else values.float()


class Likelihood(nn.Module):
    """What every likelihood is; logits and pixels are (..., M), pixels in [0, 1]."""

    name: str
    """As `--likelihood` and signatures say it."""
    title: str
    """In a sentence."""
    ceiling = 0.0
    """The most that log p(x|z) can be."""

    def log_prob(self, logits: Tensor, pixels: Tensor) -> Tensor:
        """Return log p(x|z) of each image, (...), nats; `pixels` are broadcast to `logits`."""
        raise NotImplementedError

    def nll_sum(self, logits: Tensor, pixels: Tensor) -> Tensor:
        """Return −log p(x|z) in nats, summed over pixels and images: a scalar."""
        return -self.log_prob(logits, pixels).sum()

    def mean(self, logits: Tensor) -> Tensor:
        """Return E[x|z] of each pixel, in [0, 1]."""
        raise NotImplementedError

    def sample(self, logits: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw pixels from p(x|z)."""
        raise NotImplementedError


class Bernoulli(Likelihood):
    """Each pixel is white with probability σ(l): x·l − softplus(l)."""

    name, title = "bernoulli", "Bernoulli"

    def log_prob(self, logits: Tensor, pixels: Tensor) -> Tensor:
        """Return log p(x|z); of grey pixels, the cross-entropy against them."""
        logits = wide(logits)
        return (logits * pixels - F.softplus(logits)).sum(-1)

    def nll_sum(self, logits: Tensor, pixels: Tensor) -> Tensor:
        """Return −log p(x|z), the sum of softplus(l) − x·l, by torch's own cross-entropy.

        Raises:
            ValueError: the shapes differ; broadcasting would count some pixels twice.
        """
        if logits.shape != pixels.shape:
            raise ValueError(
                f"logits {tuple(logits.shape)} and pixels {tuple(pixels.shape)} differ"
            )
        logits = wide(logits)
        return F.binary_cross_entropy_with_logits(logits, pixels.to(logits.dtype), reduction="sum")

    def mean(self, logits: Tensor) -> Tensor:
        """Return σ(l)."""
        return torch.sigmoid(logits)

    def sample(self, logits: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw zeros and ones; the generator is on the CPU, as the logits are."""
        return (torch.rand(logits.shape, generator=generator) < torch.sigmoid(logits)).float()


class ContinuousBernoulli(Likelihood):
    """A density on [0, 1] of each pixel (Loaiza-Ganem & Cunningham 2019).

    With λ = σ(l), p(x) = C λˣ (1 − λ)¹⁻ˣ, where C makes it integrate to one (equation 6). In terms
    of the logit C = 2 artanh(1 − 2λ) / (1 − 2λ) = l / tanh(l / 2). It and the mean are 0/0 at l = 0
    (λ = 0.5), around which a Taylor series stands in for them.
    """

    name, title, ceiling = "continuous-bernoulli", "continuous Bernoulli", math.inf
    NEAR_ZERO = 0.1
    """|l| below which a series is used: its error there is under 1e-9."""

    def log_prob(self, logits: Tensor, pixels: Tensor) -> Tensor:
        """Return the log density.

        The series of log C is log 2 + l²/12 − 7l⁴/1440 + 31l⁶/90720.
        """
        logits = wide(logits)
        small = logits.abs() < self.NEAR_ZERO
        safe = torch.where(small, torch.ones_like(logits), logits.abs())
        exact = safe.log() - torch.tanh(safe / 2).log()
        square = torch.where(small, logits, torch.zeros_like(logits)).square()
        series = math.log(2) + square * (1 / 12 - square * (7 / 1440 - square * (31 / 90720)))
        terms = logits * pixels - F.softplus(logits)
        return (terms + torch.where(small, series, exact)).sum(-1)

    def mean(self, logits: Tensor) -> Tensor:
        """Return E[x] = 1/(1 − e⁻ˡ) − 1/l of each pixel, which is nearer to 0.5 than λ is.

        The series is 1/2 + l/12 − l³/720.
        """
        small = logits.abs() < self.NEAR_ZERO
        safe = torch.where(small, torch.ones_like(logits), logits)
        exact = -1 / torch.expm1(-safe) - 1 / safe
        near = torch.where(small, logits, torch.zeros_like(logits))
        return torch.where(small, 0.5 + near / 12 - near**3 / 720, exact)

    def sample(self, logits: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw each pixel by its inverse distribution function.

        x = log(1 + u (eˡ − 1)) / l for uniform u, written so that no exponential overflows.
        """
        u = torch.rand(
            logits.shape, generator=generator, dtype=logits.dtype, device=generator.device
        ).to(logits.device)
        small = logits.abs() < 1e-3
        slope = torch.where(small, torch.ones_like(logits), -logits.abs())
        tail = torch.log1p(u * torch.expm1(slope)) / slope  # from the side where λ < 1/2
        drawn = torch.where(logits > 0, 1 - tail, tail)
        return torch.where(small, u, drawn).clamp(0, 1)


class Logistic(Likelihood):
    """A discretised logistic over the 256 levels of a byte (Salimans et al. 2017, section 2.1).

    A logistic distribution with the mean μ = (1 + l)/2 and a learned scale s, one for each channel,
    is cut into bins around the levels; the outermost bins reach to infinity. For one bin from a to
    b in units of s, log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − exp(a − b)), which never
    takes the difference of two numbers that are nearly one.

    Args:
        channels: C, 1 or 3.
    """

    name, title = "logistic", "discretised logistic"
    FIRST_LOG_SCALE = -3.0
    PACE = 10.0
    """log s is so many times the parameter: Adam moves every parameter at the same pace, and one
    number for a whole channel would be behind all the time."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), self.FIRST_LOG_SCALE / self.PACE))

    def log_prob(self, logits: Tensor, pixels: Tensor) -> Tensor:
        """Return the log probability of the levels x/255."""
        mean, inverse = self._parts(wide(logits))
        half = 0.5 / LEVELS
        centred = self._channels(pixels) - mean
        above, below = (centred + half) * inverse, (centred - half) * inverse
        levels = self._channels(pixels).expand_as(centred)
        inside = torch.log(-torch.expm1(-2 * half * inverse))
        terms = torch.where(levels < 1 - half, F.logsigmoid(above), 0.0)
        terms = terms + torch.where(levels > half, F.logsigmoid(-below), 0.0)
        both = (levels > half) & (levels < 1 - half)
        return (terms + torch.where(both, inside, 0.0)).sum((-2, -1))

    def mean(self, logits: Tensor) -> Tensor:
        """Return the mean of the logistic cut off at 0 and 1, which that of the levels is close to.

        E[min(max(X, 0), 1)] = ∫₀¹ P(X > t) dt = s · (softplus(μ/s) − softplus((μ − 1)/s)).
        """
        mean, inverse = self._parts(wide(logits))
        found = (F.softplus(mean * inverse) - F.softplus((mean - 1) * inverse)) / inverse
        return found.clamp(0, 1).flatten(-2)

    def sample(self, logits: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw levels, by the logistic's inverse distribution function."""
        u = torch.rand(logits.shape, generator=generator, dtype=logits.dtype).clamp(1e-7, 1 - 1e-7)
        mean, inverse = self._parts(logits)
        drawn = mean + self._channels(torch.logit(u)) / inverse
        return ((drawn * LEVELS).round() / LEVELS).clamp(0, 1).flatten(-2)

    def _parts(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return means (..., M/C, C) and inverse scales (C,), in the type of the logits."""
        log_scale = self.PACE * self.scale.to(logits.device, logits.dtype)
        return (1 + self._channels(logits)) / 2, torch.exp(-log_scale)

    def _channels(self, values: Tensor) -> Tensor:
        return values.reshape(*values.shape[:-1], -1, len(self.scale))


def likelihood_named(name: LikelihoodName, *, channels: int) -> Likelihood:
    """Build a likelihood by its name.

    Args:
        name: `bernoulli`, `continuous-bernoulli` or `logistic`.
        channels: 1, or 3 in colour.
    """
    if name == "logistic":
        return Logistic(channels=channels)
    return Bernoulli() if name == "bernoulli" else ContinuousBernoulli()
