"""A Gaussian picture of each posterior, in whose axes the chains move.

At the posterior mode the likelihood is taken for a Gaussian with curvatures λ along orthogonal
axes. In these axes the prior is unchanged and p(z) p(x | z)^β is nearly a Gaussian of precision
1 + βλ_i along axis i, so its motion can be solved exactly and only the difference need be
integrated in steps.

Shapes: `B` images, `K` chains an image, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.evidence.laplace import curvature, find_modes
from dlcli.evidence.model import LatentModel, log_likelihood, log_likelihood_and_gradient, log_prior


@dataclass(frozen=True, eq=False)
class Reference:
    """log p(x | V u) ≈ const + slope·u − ½ Σ λ_i u_i².

    Args:
        axes: orthonormal columns V, (B, D, D): z = V u.
        curvatures: λ ≥ 0, (B, D).
        slope: (B, D).
    """

    axes: Tensor
    curvatures: Tensor
    slope: Tensor

    def widths(self, beta: float) -> Tensor:
        """Return the standard deviations along the axes of N(u; 0, I) p(x | V u)^β: (B, D)."""
        return (1 + beta * self.curvatures).rsqrt()

    def to_axes(self, z: Tensor) -> Tensor:
        """Return u = Vᵀz: (K, B, D) → (K, B, D)."""
        return _turn(z, self.axes)

    def from_axes(self, u: Tensor) -> Tensor:
        """Return z = V u: (K, B, D) → (K, B, D)."""
        return _turn(u, self.axes.mT)


def find_reference(model: LatentModel, x: Tensor, *, generator: torch.Generator) -> Reference:
    """Fit the reference at the highest of three climbed modes of each image.

    Raises:
        RunFailed: the decoder returned NaN.
    """
    modes = find_modes(model, x, generator=generator, starts=3)
    height = log_likelihood(model, x, modes) + log_prior(modes)
    mode = modes[height.argmax(0), torch.arange(x.shape[0], device=model.device)]
    values, axes = torch.linalg.eigh(curvature(model, x, mode))
    curvatures = (values - 1).clamp_min(0)
    # At the mode the likelihood's gradient balances the prior's: slope − λ u = u.
    u = (mode.double()[:, None] @ axes)[:, 0]
    slope = u * (1 + curvatures)
    return Reference(axes.to(model.dtype), curvatures.to(model.dtype), slope.to(model.dtype))


@dataclass(frozen=True, eq=False)
class Turned:
    """A model seen in a reference's axes: same prior, same evidence."""

    model: LatentModel
    reference: Reference

    def log_likelihood_and_gradient(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x | V u), (K, B), and its gradient in u, (K, B, D).

        Raises:
            RunFailed: the decoder returned NaN.
        """
        z = self.reference.from_axes(u)
        value, gradient = log_likelihood_and_gradient(self.model, x, z)
        return value, self.reference.to_axes(gradient)


def _turn(rows: Tensor, matrix: Tensor) -> Tensor:
    if matrix.shape[0] == 1:
        return rows @ matrix[0]
    return torch.einsum("kbd,bde->kbe", rows, matrix)
