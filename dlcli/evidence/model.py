"""What the estimators ask of a model: p(x, z) = N(z; 0, I_D) · p(x | z), through one Protocol.

A linear-Gaussian model, a random decoder and a trained VAE's decoder enter alike.

Shapes: `B` images, `K` latent points an image, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from dlcli.errors import RunFailed

LOG_2PI = math.log(2.0 * math.pi)


class LatentModel(Protocol):
    """A model with a standard normal prior over D latents and any density p(x | z)."""

    @property
    def name(self) -> str:
        """A word for messages and signatures, such as `linear-gaussian`."""

    @property
    def latent_dim(self) -> int:
        """D."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which latents are drawn and densities computed."""

    @property
    def device(self) -> torch.device:
        """Where `x` and `z` must be."""

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z) in nats, (K, B), summed over pixels.

        Args:
            x: (B, M).
            z: (K, B, D), or (K, 1, D) where all images share the points. Differentiable.
        """

    def draw(self, z: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw x ~ p(x | z): (B, D) → (B, M)."""

    def ceiling(self, x: Tensor) -> Tensor:
        """Return an upper bound on log p(x | z) over all z, hence on log p(x): (B,), maybe inf."""


@runtime_checkable
class HasGradient(Protocol):
    """A model that knows the gradient of its log-likelihood without autograd."""

    def log_likelihood_and_gradient(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x | z), (K, B), and its gradient with respect to z, (K, B, D)."""


def log_prior(z: Tensor) -> Tensor:
    """Return log N(z; 0, I) in nats: (…, D) → (…)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * LOG_2PI)


def log_likelihood(model: LatentModel, x: Tensor, z: Tensor) -> Tensor:
    """Evaluate log p(x | z), (K, B), without a gradient.

    Raises:
        RunFailed: the decoder returned NaN or +inf.
    """
    with torch.no_grad():
        value = model.log_likelihood(x, z)
    _refuse_nan(model, value)
    return value


def log_likelihood_and_gradient(model: LatentModel, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate log p(x | z), (K, B), and its gradient with respect to z, (K, B, D).

    Raises:
        RunFailed: the decoder returned NaN or +inf.
    """
    if isinstance(model, HasGradient):
        with torch.no_grad():
            value, gradient = model.log_likelihood_and_gradient(x, z)
    else:
        with torch.enable_grad():
            point = z.detach().requires_grad_(True)
            value = model.log_likelihood(x, point)
            (gradient,) = torch.autograd.grad(value.sum(), point)
        value = value.detach()
    _refuse_nan(model, value)
    return value, gradient


def draw_pairs(
    model: LatentModel, count: int, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw pairs z ~ N(0, I), x ~ p(x | z), by ancestral sampling: (count, D), (count, M)."""
    z = standard_normal(model, (count, model.latent_dim), generator=generator)
    with torch.no_grad():
        return z, model.draw(z, generator=generator)


def standard_normal(
    model: LatentModel, shape: tuple[int, ...], *, generator: torch.Generator
) -> Tensor:
    """Draw standard normal numbers in the model's precision, on its device."""
    drawn = torch.randn(shape, generator=generator, dtype=model.dtype, device=generator.device)
    return drawn.to(model.device)


def _refuse_nan(model: LatentModel, value: Tensor) -> None:
    # A sum is NaN or +inf whenever an entry is; -inf (a point that cannot give x) is allowed.
    total = value.sum()
    if not (torch.isnan(total) or total == torch.inf):
        return
    bad = int((torch.isnan(value) | (value == torch.inf)).sum())
    if bad:
        raise RunFailed(
            f"The decoder '{model.name}' returned NaN or infinity for log p(x | z) "
            f"at {bad} of {value.numel()} latent points.",
            hint="Check its weights for NaN, and its images for pixels outside their range.",
        )
