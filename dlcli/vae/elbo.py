"""How good a VAE is on given images: ELBO, its halves, KL per dimension, active units.

Legend: N images, B of a batch, S noise samples, D latent dimensions. Everything streams over
batches: memory does not grow with S, and with N only by one number an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dlcli.vae.images import flat, model_input
from dlcli.vae.networks import VAE
from dlcli.vae.objective import iwae_bound, kl_standard_normal, log_weights

ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2
DIVERGED_KL = 1.0
"""Nats a unit: more, where none is active, is a posterior that diverged, not one that collapsed."""
COLLAPSED_KL = 1.0  # nats; a VAE that uses its latents on MNIST spends 20 to 30


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A VAE measured on images; amounts are nats an image, averaged over images."""

    images: int
    noise_samples: int
    elbo: float
    """−(reconstruction + kl): negative."""
    reconstruction: float
    """E_q[−log p(x|z)], over `noise_samples` draws."""
    kl: float
    """In closed form; with a learned prior, over the same draws."""
    std_error: float | None
    """Of `elbo`, over images; None for a single image."""
    iwae: float
    """The IWAE bound with k = noise_samples, from the same draws."""
    latents: LatentUse


@dataclass(frozen=True, kw_only=True)
class LatentUse:
    """What the latent units carry, over some images."""

    images: int
    kl: float
    """Mean KL of an image, nats."""
    kl_per_dim: tuple[float, ...]
    """Mean over images of KL(q(z_d|x) ‖ p(z_d)), nats; empty with a learned prior, to which the KL
    is no sum over dimensions."""
    mean_variance: tuple[float, ...]
    """Variance over images of each unit's posterior mean (of what a flow makes of it)."""

    @property
    def active_units(self) -> int:
        """Units whose posterior mean varies over images by more than 0.01 (Burda et al. 2016)."""
        return sum(variance > ACTIVE_VARIANCE for variance in self.mean_variance)

    def collapse(self, *, objective: str = "elbo") -> str:
        """Return a sentence where the posterior has collapsed, or an empty string."""
        if self.images < 2:
            return ""
        dims = len(self.mean_variance)
        return collapse_sentence(
            active=self.active_units, kl=self.kl, dims=dims, objective=objective
        )


@torch.inference_mode()
def evaluate(
    model: VAE,
    images: Tensor,
    *,
    generator: torch.Generator,
    noise_samples: int = 16,
    binarize: str = "none",
    batch_size: int | None = None,
) -> Evaluation:
    """Measure the ELBO of `model` on `images`, in evaluation mode.

    The encoder runs once an image and the decoder `noise_samples` times. The same generator state
    and batch size give the same noise, hence the same number.

    Args:
        model: put back into its mode afterwards.
        images: (N, …) uint8; for `fixed`, already drawn by `images.fixed_draw`.
        generator: draws the pixels of `dynamic` and the noise; on any device.
        noise_samples: S.
        binarize: `none`, `dynamic` (each image drawn once) or `fixed`.
        batch_size: images at a time; see `batch_of`.

    Raises:
        ValueError: there are no images or no noise samples.
    """
    if not len(images) or noise_samples < 1:
        raise ValueError("an evaluation needs at least one image and one noise sample")
    moments = _Moments(model)
    found: list[Tensor] = []
    with evaluating(model):
        for pixels in _batches(
            model, images, generator=generator, binarize=binarize, size=batch_size
        ):
            mean, logvar = (part.float() for part in model.encode(pixels))
            noise = (
                torch.randn(mean.shape, generator=generator, device=generator.device)
                for _ in range(noise_samples)
            )
            log_lik, log_w = _weigh(model, pixels, posterior=(mean, logvar), noise=noise)
            kl = kl_standard_normal(mean, logvar).sum(-1)
            if model.flow is not None:
                kl = (log_lik - log_w).mean(0)
            moments.add(mean, logvar, kl=kl)
            found.append(torch.stack([-log_lik.mean(0), kl, iwae_bound(log_w)]).double().cpu())
    return _summary(torch.cat(found, dim=1), latents=moments.result(), noise_samples=noise_samples)


@torch.inference_mode()
def latent_use(
    model: VAE,
    images: Tensor,
    *,
    generator: torch.Generator,
    binarize: str = "none",
    batch_size: int | None = None,
) -> LatentUse:
    """Measure what the latent units carry, by the encoder alone; arguments as in `evaluate`.

    With a learned prior the KL is that of one draw an image.
    """
    moments = _Moments(model)
    with evaluating(model):
        for pixels in _batches(
            model, images, generator=generator, binarize=binarize, size=batch_size
        ):
            mean, logvar = (part.float() for part in model.encode(pixels))
            kl = kl_standard_normal(mean, logvar).sum(-1)
            if model.flow is not None:
                eps = torch.randn(mean.shape, generator=generator, device=generator.device)
                eps = eps.to(mean.device)
                z, log_det = model.latents(mean + (0.5 * logvar).exp() * eps)
                nothing = torch.zeros_like(kl)
                kl = -log_weights(nothing, z=z, eps=eps, logvar=logvar, log_det=log_det)
            moments.add(mean, logvar, kl=kl)
    return moments.result()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and afterwards back into the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def batch_of(pixels: int, *, most: int = 500) -> int:
    """Return how many images of M numbers are computed at once: fewer where they are large."""
    return min(most, max(1, most * LARGE // pixels))


LARGE = 4096
"""Numbers of an image from which batches are smaller."""


def _batches(
    model: VAE, images: Tensor, *, generator: torch.Generator, binarize: str, size: int | None
) -> Iterator[Tensor]:
    """Yield pixels (B, M) on the model's device."""
    device = next(model.parameters()).device
    rows = flat(images)
    size = size or batch_of(rows.shape[1])
    for start in range(0, len(rows), size):
        part = rows[start : start + size].to(generator.device)
        yield model_input(part, way=binarize, generator=generator).to(device)


class _Moments:
    """Running sums over images: KL per dimension, and the variance of posterior means."""

    def __init__(self, model: VAE) -> None:
        self.model = model
        self.count, self.total = 0, 0.0
        self.kl, self.mean, self.square = torch.zeros(3, model.latent_dim, dtype=torch.float64)

    def add(self, mean: Tensor, logvar: Tensor, *, kl: Tensor) -> None:
        """Count images in: what the encoder says of them, (B, D), and their KL, (B,)."""
        wide = self.model.latents(mean)[0].double().cpu()
        self.count += len(wide)
        self.total += kl.double().sum().item()
        self.kl += kl_standard_normal(mean, logvar).double().sum(0).cpu()
        self.mean += wide.sum(0)
        self.square += wide.square().sum(0)

    def result(self) -> LatentUse:
        average = self.mean / self.count
        variance = (self.square / self.count - average.square()).clamp(min=0)
        shares = (self.kl / self.count).tolist() if self.model.flow is None else []
        return LatentUse(
            images=self.count,
            kl=math.fsum(shares) if shares else self.total / self.count,
            kl_per_dim=tuple(shares),
            mean_variance=tuple(variance.tolist()),
        )


def _weigh(
    model: VAE,
    pixels: Tensor,
    *,
    posterior: tuple[Tensor, Tensor],
    noise: Iterable[Tensor],
) -> tuple[Tensor, Tensor]:
    """Return log p(x|z) and log w of a batch for each noise sample, both (S, B)."""
    mean, logvar = posterior
    log_liks, weights = [], []
    for draw in noise:
        eps = draw.to(pixels.device)
        v = mean + (0.5 * logvar).exp() * eps
        # With skip connections only forward() shows the decoder what it saw in training.
        logits = model(pixels, eps)[0] if model.skip else model.decode_encoded(v)
        log_lik = model.likelihood.log_prob(logits, pixels)
        log_liks.append(log_lik)
        z, log_det = model.latents(v)
        weights.append(log_weights(log_lik, z=z, eps=eps, logvar=logvar, log_det=log_det))
    return torch.stack(log_liks), torch.stack(weights)


def _summary(rows: Tensor, *, latents: LatentUse, noise_samples: int) -> Evaluation:
    """Average (3, N): reconstruction, KL and bound of each image."""
    count = rows.shape[1]
    reconstruction, kl, bound = rows.mean(1).tolist()
    spread = (rows[0] + rows[1]).std().item() / math.sqrt(count) if count > 1 else None
    return Evaluation(
        images=count,
        noise_samples=noise_samples,
        elbo=-(reconstruction + kl),
        reconstruction=reconstruction,
        kl=kl,
        std_error=spread,
        iwae=bound,
        latents=latents,
    )


def collapse_sentence(*, active: int, kl: float, dims: int, objective: str = "elbo") -> str:
    """Say that the posterior has collapsed, where it has; otherwise nothing.

    Args:
        active: number of active units.
        kl: nats an image.
        dims: D.
        objective: that the model was trained with, for the advice.
    """
    idle = not active and kl < DIVERGED_KL * dims
    if not math.isfinite(kl) or not (idle or kl < COLLAPSED_KL):
        return ""
    ways = "A lower --beta, --beta-warmup or --free-bits counter it."
    if objective == "iwae":
        ways = (
            "Training longer, a lower --lr, or first --objective elbo with --beta-warmup may help."
        )
    return (
        f"The posterior has collapsed: {active} of {dims} latent units are active and "
        f"carry {kl:.2f} nats, so the decoder ignores z and all its samples look alike. {ways}"
    )
