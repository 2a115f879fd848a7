"""Ancestral sampling (Question 1): z ~ N(0, I), then x ~ p(x|z), with the density of each pair.

Legend: N latents, S draws of each, D latent dimensions, 784 = 28·28 pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.engine.seed import derive, generator
from dlcli.errors import RunFailed, UsageFault
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.evaluation import evaluating
from dlcli.vae.gallery import Array, as_array, as_pictures, label_of, pixel_values
from dlcli.vae.generation import prior_latents
from dlcli.vae.model import VAE, build_model
from dlcli.vae.objective import log_likelihood

MOST_PIXELS = 400_000_000
"""Pixels drawn at once, 1.6 GB of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AncestralSample:
    """Latents, what they are decoded to, and what was drawn from that."""

    z: Array
    """(N, D)."""
    means: Array
    """E[x|z], (N, 28, 28) in [0, 1]."""
    draws: Array
    """x ~ p(x|z), (N, S, 28, 28)."""
    log_prior: tuple[float, ...]
    """log N(z; 0, I) of each latent, nats."""
    log_joint: tuple[tuple[float, ...], ...]
    """log p(z, x) = log N(z; 0, I) + log p(x|z) of each draw, nats: (N, S)."""
    label: str
    """What the draws are, such as "Bernoulli draw from p(x|z)"."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.z)


def untrained_model(arch: VaeModelConfig, *, seed: int) -> VAE:
    """Build a fresh random model; torch's global random state is left as it was.

    Raises:
        ConfigError: see `dlcli.vae.model.check_model`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "untrained"))
        return build_model(arch).eval()


def draw_latents(model: VAE, *, count: int, seed: int) -> Tensor:
    """Draw z ~ N(0, I), (count, D): for one seed and D the same with every model."""
    return prior_latents(model, count=count, generator=generator(seed, "sample", "z"))


@torch.inference_mode()
def ancestral_sample(
    model: VAE, z: Tensor, *, draws: int, seed: int, likelihood: str = "bernoulli"
) -> AncestralSample:
    """Decode latents and draw pixels from each decoded p(x|z).

    Args:
        model: put back into its mode afterwards.
        z: (N, D), on the CPU.
        draws: S.
        seed: of the pixels.
        likelihood: `bernoulli` or `continuous-bernoulli`.

    Raises:
        UsageFault: fewer than one draw, more than fit into memory, or latents of another model.
        RunFailed: the decoder returned NaN.
    """
    _check(model, z, draws=draws)
    device = next(model.parameters()).device
    with evaluating(model):
        parts = [model.decode(part.to(device)).float().cpu() for part in torch.split(z, 500)]
    logits = torch.cat(parts)[:, None]  # (N, 1, 784)
    if not bool(logits.isfinite().all()):
        raise RunFailed(
            "The decoder returned NaN or infinity.", hint="Check its weights and the latents."
        )
    pixels = pixel_values(
        logits.expand(-1, draws, -1),
        draw=True,
        generator=generator(seed, "sample", "x"),
        likelihood=likelihood,
    )
    prior = -0.5 * (z.double().square().sum(-1) + z.shape[1] * math.log(2 * math.pi))
    given = log_likelihood(logits.double(), pixels.double(), likelihood=likelihood)  # (N, S)
    return AncestralSample(
        z=as_array(z),
        means=as_pictures(pixel_values(logits, draw=False, likelihood=likelihood)),
        draws=as_array(pixels.view(len(z), draws, 28, 28)),
        log_prior=tuple(prior.tolist()),
        log_joint=tuple(tuple(row) for row in (prior[:, None] + given).tolist()),
        label=label_of(draw=True, likelihood=likelihood),
    )


def _check(model: VAE, z: Tensor, *, draws: int) -> None:
    if draws < 1:
        raise UsageFault(f"{draws} draws cannot be shown.", hint="Ask for 1 or more with --draws.")
    if z.shape[1] != model.latent_dim:
        raise UsageFault(
            f"The latents have {z.shape[1]} dimensions and the model {model.latent_dim}.",
            hint=f"Give latents of {model.latent_dim} numbers a line, or choose another model.",
        )
    if len(z) * draws * 784 > MOST_PIXELS:
        raise UsageFault(
            f"{len(z)} x {draws} pictures do not fit into memory at once.",
            hint="Ask for fewer with --n or --draws.",
        )
