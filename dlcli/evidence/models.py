"""What the estimators need of a model: p(x, z) = N(z; 0, I_D) · p(x | z), through one Protocol.

Two models stand here: `LinearGaussian`, whose every answer is exact, and `BernoulliDecoder`, around
any callable from latents to logits: a random network (`random_decoder`) or a trained VAE's decoder.

Shapes: `B` images, `K` latent points an image, `N` rows, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
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


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """x = W z + ε with z ~ N(0, I_D), ε ~ N(0, σ² I_M), and exact answers to every question.

    Known in closed form: log p(x), the posterior, its divergence from the prior and the second
    moment of the weights. The likelihood depends on x and z only through b = Wᵀx/σ² and A = WᵀW/σ²
    (D numbers and a D×D matrix), so a million latent points cost no product with the 784 pixels.

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


CPU = torch.device("cpu")
CACHE_ROWS = 512
"""Rows decoded at once: their logits (784 × 4 bytes each) fit into a core's cache, so that the
softplus reads what the matrix product has just written (measured: 80–90% of the product's speed,
against 58% when 8,192 rows go through memory)."""


@dataclass(frozen=True, eq=False)
class BernoulliDecoder:
    """p(x | z) = Π_m Bernoulli(x_m; sigmoid(decode(z)_m)), for any `decode`.

    Grey pixels are read as expected bits.

    Args:
        decode: (N, D) → (N, M) logits, differentiable.
        latent_dim: D.
        block_rows: rows decoded at once when no gradient is wanted.
    """

    decode: Callable[[Tensor], Tensor]
    latent_dim: int
    name: str = "bernoulli"
    dtype: torch.dtype = torch.float32
    device: torch.device = CPU
    block_rows: int = CACHE_ROWS

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z) in nats, (K, B), for z of shape (K, B or 1, D)."""
        return in_blocks(self._block, x, z, points=self.block_rows // z.shape[1])

    def _block(self, x: Tensor, z: Tensor) -> Tensor:
        K, shared, D = z.shape
        logits = self.decode(z.reshape(K * shared, D))  # (K·B or K, M)
        normalizer = F.softplus(logits).sum(-1).view(K, shared)
        if shared == 1:
            return logits @ x.T - normalizer
        return torch.einsum("kbm,bm->kb", logits.view(K, shared, -1), x) - normalizer

    def draw(self, z: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw x | z: (B, D) → (B, M), zeros and ones."""
        logits = self.decode(z)
        uniform = torch.rand(logits.shape, generator=generator, dtype=logits.dtype)
        return (uniform.to(logits.device) < torch.sigmoid(logits)).to(logits.dtype)

    def ceiling(self, x: Tensor) -> Tensor:
        """Return an upper bound on log p(x | z), minus the pixels' entropy: (B,)."""
        wide = x.double()
        entropy: Tensor = torch.special.entr(wide) + torch.special.entr(1 - wide)
        return -entropy.sum(-1)


def in_blocks(
    log_likelihood: Callable[[Tensor, Tensor], Tensor], x: Tensor, z: Tensor, *, points: int
) -> Tensor:
    """Evaluate log p(x | z), (K, B), some points of z (K, …) at a time, unless for a gradient."""
    if torch.is_grad_enabled() and z.requires_grad:
        return log_likelihood(x, z)
    parts = [log_likelihood(x, part) for part in torch.split(z, max(1, points))]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


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
