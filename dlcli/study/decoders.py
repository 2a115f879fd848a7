"""A trained VAE as the evidence estimators want it: its decoder, and its encoder's q(z|x)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.engine.device import Compute
from dlcli.errors import RunFailed, UsageFault
from dlcli.evidence.bernoulli import BernoulliDecoder
from dlcli.evidence.proposal import DiagonalGaussian, Proposal
from dlcli.vae.flow import Flow
from dlcli.vae.model import VAE
from dlcli.vae.trained import Trained

GPU_ROWS = 65_536
ENCODED_AT_ONCE = 500
CONV_ROWS = 128
"""Rows of a convolutional decoder that are decoded at once on a CPU."""


def decoder_of(trained: Trained, *, compute: Compute, of_encoded: bool = False) -> BernoulliDecoder:
    """Offer the decoder of a run, on the device its model is on.

    Args:
        trained: the run.
        compute: precision.
        of_encoded: of v, where the encoder's Gaussian is, instead of the latents z: what is the
            same but for a learned prior. Such v have no standard normal prior.

    Raises:
        UsageFault: with skip connections the decoder is shown x itself, and has no p(x|z).
    """
    config = trained.config
    if config.model.skip:
        raise UsageFault(
            f"The decoder of {trained.run.path} sees the encoder's feature maps (--skip), so it is "
            "no p(x|z) and nothing can be said of p(x).",
            hint="Choose a run that was trained without --skip.",
        )
    device = next(trained.model.parameters()).device
    rows = CONV_ROWS if config.model.arch == "conv" else BernoulliDecoder.block_rows
    return BernoulliDecoder(
        decode=_Decoding(trained.model, compute, of_encoded),
        latent_dim=trained.model.latent_dim,
        name=trained.run.path.name,
        device=device,
        likelihood=config.objective.likelihood,
        block_rows=rows if device.type == "cpu" else GPU_ROWS,
    )


def encoded(model: VAE, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and logvar of what the encoder says, (N, D) in float32, of pixels (N, 784).

    Raises:
        RunFailed: the encoder returned NaN.
    """
    parts = [model.encode(rows) for rows in torch.split(pixels, ENCODED_AT_ONCE)]
    mean, logvar = (torch.cat(part).float() for part in zip(*parts, strict=True))
    bad = int((~(mean + logvar).isfinite()).any(1).sum())
    if bad:
        raise RunFailed(
            f"The encoder returned NaN or infinity for {bad} of {len(pixels)} images.",
            hint="Check its weights for NaN; an earlier --checkpoint may be sound.",
        )
    return mean, logvar


def posterior_of(model: VAE, mean: Tensor, *, logvar: Tensor) -> Proposal:
    """Offer q(z|x) of images, from what the encoder says of them, both (B, D)."""
    gaussian = DiagonalGaussian(mean, logvar)
    return gaussian if model.flow is None else FlowedGaussian(gaussian, model.flow)


@dataclass(frozen=True, eq=False)
class FlowedGaussian:
    """q(z|x) of a VAE with a learned prior: its encoder's Gaussian, carried along by the flow."""

    gaussian: DiagonalGaussian
    flow: Flow

    @torch.no_grad()
    def draw(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw (count, B, D)."""
        z: Tensor = self.flow(self.gaussian.draw(count, generator=generator))[0]
        return z

    @torch.no_grad()
    def log_density(self, z: Tensor) -> Tensor:
        """Return log q(z): (K, B, D) → (K, B)."""
        v, log_det = self.flow.inverse(z)
        return self.gaussian.log_density(v) - log_det


class _Decoding:
    """A decoder in the precision asked for; logits are always float32."""

    def __init__(self, model: VAE, compute: Compute, of_encoded: bool) -> None:
        self._decode = model.decode_encoded if of_encoded else model.decode
        self._compute = compute

    def __call__(self, z: Tensor) -> Tensor:
        with self._compute.autocast():
            return self._decode(z).to(torch.float32)
