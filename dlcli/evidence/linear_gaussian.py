"""The exactly solvable model: x = W z + ε, z ~ N(0, I_D), ε ~ N(0, σ² I_M).

Everything an estimator must guess is known here in closed form: log p(x), the posterior, its
divergence from the prior and the second moment of the weights. The likelihood depends on x and z
only through b = Wᵀx/σ² and A = WᵀW/σ² (D numbers and a D×D matrix), so a million latent points
cost no product with the 784 pixels.

Shapes: `B` images, `K` latent points an image, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dlcli.evidence.model import LOG_2PI


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """x = W z + ε with exact answers to every question of this room.

    Args:
        weight: W, (M, D).
        noise_variance: σ² > 0.
    """

    weight: Tensor
    noise_variance: float
    name: str = "linear-gaussian"
    _gram: Tensor = field(init=False, repr=False)
    _kept: list[Any] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        wide = self.weight.double()
        gram = (wide.T @ wide / self.noise_variance).to(self.weight.dtype)
        object.__setattr__(self, "_gram", gram)

    @property
    def latent_dim(self) -> int:
        """D."""
        return self.weight.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The precision of W."""
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where W is."""
        return self.weight.device

    def to(self, dtype: torch.dtype, *, device: torch.device | None = None) -> LinearGaussian:
        """Return the same model in another precision, on another device."""
        weight = self.weight.to(device or self.device, dtype)
        return LinearGaussian(weight, self.noise_variance, self.name)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z) = c(x) + b·z − ½ zᵀAz, (K, B), for z of shape (K, B or 1, D)."""
        linear, constant = self._statistics(x)
        quadratic = (z @ self._gram).mul_(z) if not z.requires_grad else (z @ self._gram) * z
        if z.shape[1] == 1:
            return z[:, 0] @ linear.T - 0.5 * quadratic.sum(-1) + constant
        return (z * linear).sum(-1) - 0.5 * quadratic.sum(-1) + constant

    def log_likelihood_and_gradient(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x | z), (K, B), and b − Az, (K, B, D)."""
        linear, constant = self._statistics(x)
        gradient = linear - z @ self._gram
        return 0.5 * ((gradient + linear) * z).sum(-1) + constant, gradient

    def draw(self, z: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw x | z: (B, D) → (B, M)."""
        mean = z @ self.weight.T
        noise = torch.randn(mean.shape, generator=generator, dtype=self.dtype).to(self.device)
        return mean + math.sqrt(self.noise_variance) * noise

    def ceiling(self, x: Tensor) -> Tensor:
        """Return max_z log p(x | z), where W z is the projection of x: (B,)."""
        fit = torch.linalg.lstsq(self.weight.double(), x.double().T).solution
        residual: Tensor = (x.double() - fit.T @ self.weight.double().T).square().sum(-1)
        return self._log_normalizer() - residual / (2 * self.noise_variance)

    def log_evidence(self, x: Tensor) -> Tensor:
        """Return the exact log p(x), (B,), in float64."""
        return self.log_moment(x, 1.0)

    def log_moment(self, x: Tensor, power: float) -> Tensor:
        """Return log E_z[p(x | z)^power] over the prior, (B,), in float64.

        A Gaussian integral: k c + ½ k² bᵀ(I + kA)⁻¹b − ½ log det(I + kA).
        """
        b, constant = self._wide_statistics(x)
        chol = torch.linalg.cholesky(self._precision(power))
        whitened: Tensor = torch.linalg.solve_triangular(chol, b.T, upper=False)
        log_det: Tensor = 2 * chol.diagonal().log().sum()
        return power * constant + 0.5 * power**2 * whitened.square().sum(0) - 0.5 * log_det

    def log_rho(self, x: Tensor) -> Tensor:
        """Return log ρ = log E[w²] − 2 log E[w] of the prior's weights w = p(x | z), (B,)."""
        return self.log_moment(x, 2.0) - 2 * self.log_moment(x, 1.0)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior's means, (B, D), and its covariance, (D, D), in float64."""
        b, _ = self._wide_statistics(x)
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(self._precision(1.0)))
        return b @ covariance, covariance

    def kl_posterior_prior(self, x: Tensor) -> Tensor:
        """Return the exact KL(p(z | x) ‖ p(z)) in nats, (B,)."""
        mean, covariance = self.posterior(x)
        log_det: Tensor = torch.logdet(self._precision(1.0))
        return 0.5 * (covariance.trace() + mean.square().sum(-1) - self.latent_dim + log_det)

    def _precision(self, power: float) -> Tensor:
        wide = self.weight.double()
        gram = wide.T @ wide * (power / self.noise_variance)
        return gram + torch.eye(self.latent_dim, dtype=torch.float64, device=self.device)

    def _log_normalizer(self) -> float:
        return -0.5 * self.weight.shape[0] * (LOG_2PI + math.log(self.noise_variance))

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return b and c(x) in the model's precision; those of the last images are kept."""
        if self._kept and self._kept[0] is x and self._kept[1] == x._version:
            return self._kept[2], self._kept[3]
        linear, constant = (part.to(self.dtype) for part in self._wide_statistics(x))
        self._kept[:] = [x, x._version, linear, constant]
        return linear, constant

    def _wide_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return b = Wᵀx/σ², (B, D), and c(x), (B,), in float64."""
        pixels = x.double()
        linear = pixels @ self.weight.double() / self.noise_variance
        constant = self._log_normalizer() - pixels.square().sum(-1) / (2 * self.noise_variance)
        return linear, constant


def random_linear_gaussian(
    latent_dim: int,
    *,
    pixels: int,
    noise_variance: float,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
) -> LinearGaussian:
    """Draw a model whose W has independent entries N(0, 1/D), so that Wz has variance ‖z‖²/D."""
    weight = torch.randn(pixels, latent_dim, generator=generator, dtype=torch.float64)
    return LinearGaussian((weight / math.sqrt(latent_dim)).to(dtype), noise_variance)
