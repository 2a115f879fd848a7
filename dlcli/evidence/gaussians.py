"""KL divergences between Gaussians: in closed form, by sampling, and their gradient checked.

The assignment's Questions 3 and 7: KL(q ‖ p) is 0 for equal distributions, and μ_p²/2 for unit
variances and μ_q = 0.

Shapes: `D` dimensions, all independent of each other; a scalar is D = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.engine.config import signature
from dlcli.engine.seed import generator
from dlcli.errors import ConfigError
from dlcli.evidence.config import KlConfig

CHUNK_NUMBERS = 1_000_000


@dataclass(frozen=True)
class MonteCarlo:
    """A Monte Carlo estimate, nats."""

    value: float
    std_error: float
    samples: int


@dataclass(frozen=True)
class Divergence:
    """KL(a ‖ b) in one direction, nats."""

    closed_form: float
    monte_carlo: MonteCarlo


@dataclass(frozen=True)
class GradientCheck:
    """Autograd on the closed form against derivatives by hand, over all four parameters.

    Args:
        largest_gradient: largest absolute derivative.
        relative_error: largest difference over that derivative (or over 1 if it is smaller).
        holds: whether the error is below 1e-9.
    """

    largest_gradient: float
    relative_error: float
    holds: bool


@dataclass(frozen=True)
class KlResult:
    """What `dl kl` prints; `closed_form` and `monte_carlo` are of KL(q ‖ p).

    Args:
        mu_q: mean of q, D values; likewise sigma_q, mu_p, sigma_p.
        reverse: KL(p ‖ q).
        examples: the assignment's two examples, as computed here.
    """

    closed_form: float
    monte_carlo: MonteCarlo
    reverse: Divergence
    gradient_check: GradientCheck
    mu_q: tuple[float, ...]
    sigma_q: tuple[float, ...]
    mu_p: tuple[float, ...]
    sigma_p: tuple[float, ...]
    examples: dict[str, float]
    signature: str


def gaussian_kl(mu_q: Tensor, sigma_q: Tensor, *, mu_p: Tensor, sigma_p: Tensor) -> Tensor:
    """Return KL(N(μ_q, σ_q²) ‖ N(μ_p, σ_p²)) in nats, summed over the last dimension.

    Σ log(σ_p/σ_q) + (σ_q² + (μ_q − μ_p)²)/(2 σ_p²) − ½, written so that it keeps its digits near 0:
    with r = σ_q/σ_p it is ½(r² − 1) − log r ≥ 0 and a square.
    """
    ratio = sigma_q / sigma_p
    off = ratio - 1
    # r − 1 forgets a tiny r. The side that where() drops must be finite, or gradients are NaN.
    near = off.abs() < 0.5
    log_ratio = torch.where(near, torch.log1p(torch.where(near, off, 0.0)), ratio.log())
    shape = 0.5 * off * (ratio + 1) - log_ratio
    return (shape + 0.5 * ((mu_q - mu_p) / sigma_p).square()).sum(-1)


def monte_carlo_kl(
    mu_q: Tensor,
    sigma_q: Tensor,
    *,
    mu_p: Tensor,
    sigma_p: Tensor,
    samples: int,
    generator: torch.Generator,
) -> MonteCarlo:
    """Average log q(x) − log p(x) over draws of q.

    Args:
        mu_q: (D,), as are sigma_q, mu_p and sigma_p; float64.
        samples: at least 2.
        generator: the only source of randomness.
    """
    center = float(gaussian_kl(mu_q, sigma_q, mu_p=mu_p, sigma_p=sigma_p))
    first, second, done = 0.0, 0.0, 0
    most = max(1, CHUNK_NUMBERS // mu_q.numel())
    while done < samples:
        count = min(most, samples - done)
        noise = torch.randn(count, mu_q.numel(), generator=generator, dtype=mu_q.dtype)
        scaled = (mu_q + sigma_q * noise - mu_p) / sigma_p
        terms = 0.5 * (scaled.square() - noise.square()) + torch.log(sigma_p / sigma_q)
        # Sums of deviations from the expected value: no cancellation in the variance.
        off = terms.sum(-1) - center
        first, second = first + float(off.sum()), second + float(off.square().sum())
        done += count
    mean = first / samples
    variance = max(second - samples * mean**2, 0.0) / (samples - 1)
    return MonteCarlo(center + mean, math.sqrt(variance / samples), samples)


def check_gradient(
    mu_q: Tensor, sigma_q: Tensor, *, mu_p: Tensor, sigma_p: Tensor
) -> GradientCheck:
    """Compare autograd's gradient of the closed form with the derivatives worked out by hand."""
    point = torch.stack([mu_q, sigma_q, mu_p, sigma_p]).requires_grad_(True)  # (4, D)
    value = gaussian_kl(point[0], point[1], mu_p=point[2], sigma_p=point[3])
    (gradient,) = torch.autograd.grad(value, point)
    gap = (mu_q - mu_p) / sigma_p**2
    widths = sigma_q / sigma_p**2 - 1 / sigma_q
    spread = 1 / sigma_p - (sigma_q**2 + (mu_q - mu_p) ** 2) / sigma_p**3
    by_hand = torch.stack([gap, widths, -gap, spread])
    largest = float(gradient.abs().max())
    error = float((by_hand - gradient).abs().max()) / max(largest, 1.0)
    return GradientCheck(largest, error, error < 1e-9)


def run_kl(config: KlConfig) -> KlResult:
    """Compute everything `dl kl` prints.

    Raises:
        ConfigError: the lists' lengths do not fit each other.
    """
    D = max(len(part) for part in (config.mu_q, config.sigma_q, config.mu_p, config.sigma_p))
    mu_q, sigma_q, mu_p, sigma_p = (
        _spread(name, getattr(config, name), D) for name in ("mu_q", "sigma_q", "mu_p", "sigma_p")
    )
    seed, samples = config.compute.seed, config.samples

    def diverge(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], *, label: str) -> Divergence:
        (mu, sigma), stream = b, generator(seed, label)
        return Divergence(
            float(gaussian_kl(*a, mu_p=mu, sigma_p=sigma)),
            monte_carlo_kl(*a, mu_p=mu, sigma_p=sigma, samples=samples, generator=stream),
        )

    forward = diverge((mu_q, sigma_q), (mu_p, sigma_p), label="kl")
    reverse = diverge((mu_p, sigma_p), (mu_q, sigma_q), label="kl-reverse")
    return KlResult(
        closed_form=forward.closed_form,
        monte_carlo=forward.monte_carlo,
        reverse=reverse,
        gradient_check=check_gradient(mu_q, sigma_q, mu_p=mu_p, sigma_p=sigma_p),
        mu_q=tuple(mu_q.tolist()),
        sigma_q=tuple(sigma_q.tolist()),
        mu_p=tuple(mu_p.tolist()),
        sigma_p=tuple(sigma_p.tolist()),
        examples=assignment_examples(),
        signature=signature(
            measure="kl",
            unit="nats",
            dims=D,
            mu_q=config.mu_q,
            sigma_q=config.sigma_q,
            mu_p=config.mu_p,
            sigma_p=config.sigma_p,
            samples=samples,
            seed=seed,
            precision="fp64",
        ),
    )


def assignment_examples() -> dict[str, float]:
    """Compute Question 3's two examples, with unit variances: μ_p = 0, and μ_p = 10 (10²/2)."""
    zero, one, ten = (torch.tensor([value], dtype=torch.float64) for value in (0.0, 1.0, 10.0))
    return {
        "mu_p=0": float(gaussian_kl(zero, one, mu_p=zero, sigma_p=one)),
        "mu_p=10": float(gaussian_kl(zero, one, mu_p=ten, sigma_p=one)),
    }


def _spread(name: str, values: tuple[float, ...], dims: int) -> Tensor:
    if len(values) not in (1, dims):
        flag = "--" + name.replace("_", "-")
        raise ConfigError(
            f"{flag} has {len(values)} values where another list has {dims}.",
            hint=f"Give {flag} one value, or {dims}.",
        )
    return torch.tensor(values, dtype=torch.float64).expand(dims).clone()
