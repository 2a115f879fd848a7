"""Pictures as values: pixels in [0, 1], the latents they come from, and what they are.

Legend: N pictures, D latent dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcli.vae import continuous_bernoulli
from dlcli.vae.evaluation import evaluating
from dlcli.vae.model import VAE

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Pictures that a decoder made."""

    images: Array
    """(N, 28, 28) in [0, 1]."""
    z: Array
    """(N, D): the latents of the pictures."""
    columns: int
    """Pictures in a row when they are laid out."""
    label: str
    """What the pixels are, such as "mean of p(x|z)"."""
    rows: tuple[str, ...] = ()
    """What each row shows, where rows differ in kind."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """Images and what the VAE makes of them."""

    inputs: Array
    """(N, 28, 28) in [0, 1]: what the encoder saw."""
    images: Array
    """(N, 28, 28) in [0, 1]: the reconstructions."""
    z: Array
    """(N, D)."""
    label: str


def paired_rows(found: Reconstruction, *, columns: int = 10) -> tuple[Array, tuple[str, ...]]:
    """Lay inputs above their reconstructions, in blocks of two rows of about equal length.

    Args:
        found: the pictures.
        columns: the most pictures a row; where the last block is shorter, it ends in black.

    Returns:
        (2R, C, 28, 28) and what each row shows.
    """
    N = len(found.inputs)
    R = -(-N // columns)
    C = -(-N // R)
    rows = np.zeros((2, R * C, 28, 28), dtype=np.float32)
    rows[0, :N] = found.inputs
    rows[1, :N] = found.images
    blocks = rows.reshape(2, R, C, 28, 28).swapaxes(0, 1).reshape(2 * R, C, 28, 28)
    return blocks, ("input", "output") * R


def decode_gallery(
    model: VAE,
    z: Tensor,
    *,
    draw: bool = False,
    generator: torch.Generator | None = None,
    likelihood: str = "bernoulli",
    columns: int | None = None,
    rows: tuple[str, ...] = (),
) -> Gallery:
    """Decode latents (N, D) into pictures.

    Args:
        model: put back into its mode afterwards.
        z: on any device.
        draw: draw pixels from p(x|z) with `generator`, instead of showing their mean.
        generator: on the CPU; needed where `draw` is set.
        likelihood: `bernoulli` or `continuous-bernoulli`.
        columns: pictures a row; a square where None.
        rows: what each row shows.
    """
    device = next(model.parameters()).device
    with torch.inference_mode(), evaluating(model):
        logits = torch.cat(
            [model.decode(part.to(device)).float().cpu() for part in torch.split(z, 500)]
        )
        pixels = pixel_values(logits, draw=draw, generator=generator, likelihood=likelihood)
    return Gallery(
        images=as_pictures(pixels),
        z=as_array(z),
        columns=columns or math.ceil(math.sqrt(len(z))),
        label=label_of(draw=draw, likelihood=likelihood),
        rows=rows,
    )


def pixel_values(
    logits: Tensor,
    *,
    draw: bool,
    generator: torch.Generator | None = None,
    likelihood: str = "bernoulli",
) -> Tensor:
    """Return E[x|z], or draws from p(x|z), of a decoder's logits (any shape, on the CPU).

    Raises:
        ValueError: `draw` without a generator.
    """
    continuous = likelihood == "continuous-bernoulli"
    if not draw:
        return continuous_bernoulli.mean(logits) if continuous else torch.sigmoid(logits)
    if generator is None:
        raise ValueError("drawing pixels needs a generator")
    if continuous:
        return continuous_bernoulli.sample(logits, generator=generator)
    return (torch.rand(logits.shape, generator=generator) < torch.sigmoid(logits)).float()


def label_of(*, draw: bool, likelihood: str = "bernoulli") -> str:
    """Say what the pixels of a picture are."""
    if not draw:
        return "mean of p(x|z)"
    return f"{likelihood.replace('-', ' ').replace('bernoulli', 'Bernoulli')} draw from p(x|z)"


def as_pictures(pixels: Tensor) -> Array:
    """Turn pixels (N, 784) on any device into a float array (N, 28, 28)."""
    return as_array(pixels.reshape(-1, 28, 28))


def as_array(values: Tensor) -> Array:
    """Turn a tensor on any device into a float32 array."""
    return values.detach().to(torch.float32).cpu().numpy()
