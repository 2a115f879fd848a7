"""A trained VAE as the evidence estimators want it: its decoder, and its encoder's q(z|x)."""

from __future__ import annotations

import torch
from torch import Tensor

from dlcli.engine.device import Compute
from dlcli.errors import RunFailed, UsageFault
from dlcli.evidence.bernoulli import BernoulliDecoder
from dlcli.vae.model import VAE
from dlcli.vae.trained import Trained

GPU_ROWS = 65_536
ENCODED_AT_ONCE = 500
CONV_ROWS = 128
"""Rows of a convolutional decoder that are decoded at once on a CPU."""


def decoder_of(trained: Trained, *, compute: Compute) -> BernoulliDecoder:
    """Offer the decoder of a run, on the device its model is on.

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
        decode=_Decoding(trained.model, compute),
        latent_dim=trained.model.latent_dim,
        name=trained.run.path.name,
        device=device,
        likelihood=config.objective.likelihood,
        block_rows=rows if device.type == "cpu" else GPU_ROWS,
    )


def encoded(model: VAE, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and logvar of q(z|x), (N, D) in float32, of pixels (N, 784).

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


class _Decoding:
    """`model.decode` in the precision asked for; logits are always float32."""

    def __init__(self, model: VAE, compute: Compute) -> None:
        self._model, self._compute = model, compute

    def __call__(self, z: Tensor) -> Tensor:
        with self._compute.autocast():
            return self._model.decode(z).to(torch.float32)
