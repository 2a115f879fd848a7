"""Samples and reconstructions from a VAE.

Randomness comes from the `generator` that is passed in (on the CPU, so that every device gives the
same latents): the same generator state gives the same bytes.

Legend: N pictures, D latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcli.errors import UsageFault
from dlcli.vae import objective as continuous_bernoulli
from dlcli.vae.evaluation import evaluating
from dlcli.vae.images import flat, model_input
from dlcli.vae.networks import VAE

# -- Pictures as values: pixels in [0, 1], the latents they come from, and what they are
# Legend: N pictures, D latent dimensions.

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


def prior_latents(
    model: VAE, *, count: int, generator: torch.Generator, temperature: float = 1.0
) -> Tensor:
    """Draw z = temperature · ε, ε ~ N(0, I): (count, D) on the CPU.

    Raises:
        UsageFault: `count` < 1, or a negative or infinite temperature.
    """
    if count < 1:
        raise UsageFault(f"{count} pictures cannot be drawn.", hint="Ask for 1 or more with --n.")
    if not 0 <= temperature < math.inf:
        raise UsageFault(
            f"A temperature of {temperature} has no meaning.",
            hint="Use --temperature 0 (the prior's mean) or more; 1 is the prior itself.",
        )
    return temperature * torch.randn(count, model.latent_dim, generator=generator)


def generate(
    model: VAE,
    *,
    count: int = 64,
    generator: torch.Generator,
    temperature: float = 1.0,
    draw: bool = False,
    likelihood: str = "bernoulli",
) -> Gallery:
    """Draw latents from the prior and decode them: ancestral sampling (Question 1).

    Args:
        model: trained or not.
        count: N.
        generator: draws the latents first, then the pixels where `draw` is set.
        temperature: standard deviation of the latents; 1 is the model's own prior.
        draw: also draw the pixels, instead of showing their means.
        likelihood: `bernoulli` or `continuous-bernoulli`.

    Raises:
        UsageFault: see `prior_latents`.
    """
    z = prior_latents(model, count=count, generator=generator, temperature=temperature)
    return decode_gallery(model, z, draw=draw, generator=generator, likelihood=likelihood)


@torch.inference_mode()
def posterior_means(
    model: VAE,
    images: Tensor,
    *,
    binarize: str = "none",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Encode images into the means of q(z|x), or with a flow what it makes of v's: (N, D).

    Args:
        model: put back into its mode afterwards.
        images: (N, 28, 28) uint8 on the CPU.
        binarize: how the model was trained to see them.
        generator: on the CPU; draws the pixels of `dynamic`.
    """
    device = next(model.parameters()).device
    inputs = model_input(flat(images), way=binarize, generator=generator)
    with evaluating(model):
        means = (model.encode(rows.to(device))[0] for rows in torch.split(inputs, 500))
        parts = [model.latents(mean)[0] for mean in means]
    return torch.cat(parts).float().cpu()


@torch.inference_mode()
def reconstruct(
    model: VAE,
    images: Tensor,
    *,
    generator: torch.Generator,
    sample: bool = False,
    draw: bool = False,
    binarize: str = "none",
    likelihood: str = "bernoulli",
) -> Reconstruction:
    """Encode images and decode them again.

    Args:
        model: with skip connections, the decoder is shown the encoder's features, as in training.
        images: (N, 28, 28) uint8 on the CPU, N ≥ 1.
        generator: on the CPU; draws what is to be drawn: inputs, then z, then pixels.
        sample: draw z from q(z|x) instead of taking its mean.
        draw: draw pixels from p(x|z) instead of showing their mean.
        binarize: how the model was trained to see images.
        likelihood: `bernoulli` or `continuous-bernoulli`.
    """
    device = next(model.parameters()).device
    inputs = model_input(flat(images), way=binarize, generator=generator)
    eps = torch.zeros(len(inputs), model.latent_dim)
    if sample:
        eps = torch.randn(eps.shape, generator=generator)
    with evaluating(model):
        logits, mean, logvar = (part.float() for part in model(inputs.to(device), eps.to(device)))
        z, _ = model.latents(mean + (0.5 * logvar).exp() * eps.to(device))
    pixels = pixel_values(logits.cpu(), draw=draw, generator=generator, likelihood=likelihood)
    where = "the mean of q(z|x)" if model.flow is None else "the encoder's mean"
    if sample:
        where = "a draw from q(z|x)"
    return Reconstruction(
        inputs=as_pictures(inputs),
        images=as_pictures(pixels),
        z=as_array(z),
        label=f"{label_of(draw=draw, likelihood=likelihood)} at {where}",
    )


# -- Walks through latent space: from one point to another, along one latent, over a plane

LatentPath = Literal["spherical", "linear"]


def interpolate(
    model: VAE,
    start: Tensor,
    *,
    end: Tensor,
    steps: int = 10,
    path: LatentPath = "spherical",
    likelihood: str = "bernoulli",
) -> Gallery:
    """Walk from some latents to others; both ends are included.

    Args:
        model: decodes the path.
        start, end: (P, D) or (D,): one path a row.
        steps: pictures a path, 2 or more.
        path: `spherical` keeps to radii the prior knows (White 2016, section 2.1); `linear` is
            straight, and passes through shorter vectors than the prior draws.
        likelihood: `bernoulli` or `continuous-bernoulli`.

    Raises:
        UsageFault: fewer than 2 steps.
    """
    if steps < 2:
        raise UsageFault(
            f"A path of {steps} pictures has no two ends.", hint="Use --steps 2 or more."
        )
    first, last = (ends.reshape(-1, model.latent_dim) for ends in (start, end))
    t = torch.linspace(0, 1, steps)[:, None]
    along = [_between(a, b, t=t, path=path) for a, b in zip(first, last, strict=True)]
    return decode_gallery(model, torch.cat(along), likelihood=likelihood, columns=steps)


def traverse(
    model: VAE,
    z: Tensor,
    *,
    dims: Sequence[int] | None = None,
    steps: int = 9,
    span: float = 3.0,
    likelihood: str = "bernoulli",
) -> Gallery:
    """Vary one latent at a time from −span to +span, the others kept as in `z`.

    Args:
        model: decodes.
        z: (D,), such as zeros or an image's posterior mean.
        dims: which latents, one a row, from 0; all where None.
        steps: pictures a row.
        span: prior standard deviations.
        likelihood: `bernoulli` or `continuous-bernoulli`.

    Raises:
        UsageFault: a latent that the model does not have.
    """
    chosen = list(range(model.latent_dim)) if dims is None else list(dims)
    for dim in chosen:
        if not 0 <= dim < model.latent_dim:
            raise UsageFault(
                f"The model has no latent dimension {dim}.",
                hint=f"Its dimensions are 0 to {model.latent_dim - 1}.",
            )
    grid = z.expand(len(chosen), steps, -1).clone()
    for row, dim in enumerate(chosen):
        grid[row, :, dim] = torch.linspace(-span, span, steps)
    return decode_gallery(
        model,
        grid.reshape(-1, model.latent_dim),
        likelihood=likelihood,
        columns=steps,
        rows=tuple(f"z[{dim}]" for dim in chosen),
    )


def change_along(
    model: VAE, *, steps: int = 5, span: float = 3.0, likelihood: str = "bernoulli"
) -> Tensor:
    """Return how much each latent moves the picture, (D,): its pixels' variance along its row.

    Args:
        model: decodes D rows of `steps` pictures, all other latents 0.
        steps, span: as in `traverse`.
        likelihood: `bernoulli` or `continuous-bernoulli`.
    """
    zeros = torch.zeros(model.latent_dim)
    shown = traverse(model, zeros, steps=steps, span=span, likelihood=likelihood)
    pictures = torch.from_numpy(shown.images).view(model.latent_dim, steps, -1)
    return pictures.var(1).sum(-1)


def plane(model: VAE, *, size: int = 20, likelihood: str = "bernoulli") -> Gallery:
    """Decode the whole plane of a two-dimensional latent space.

    The grid is the inverse normal distribution function of equal steps, so that every picture
    stands for the same share of the prior (Kingma & Welling 2014, figure 4). z[0] grows to the
    right and z[1] upwards.

    Raises:
        UsageFault: the model has not 2 latent dimensions.
    """
    if model.latent_dim != 2:
        raise UsageFault(
            f"The model has {model.latent_dim} latent dimensions, and only 2 make a plane.",
            hint="Train one with --latent-dim 2, or traverse one latent at a time.",
        )
    ticks = torch.special.ndtri((torch.arange(size, dtype=torch.float64) + 0.5) / size).float()
    up, right = torch.meshgrid(ticks.flip(0), ticks, indexing="ij")
    z = torch.stack([right.flatten(), up.flatten()], dim=1)
    return decode_gallery(model, z, likelihood=likelihood, columns=size)


def _between(start: Tensor, end: Tensor, *, t: Tensor, path: LatentPath) -> Tensor:
    """Return points (steps, D) from `start` to `end`, both (D,), at t (steps, 1)."""
    straight = (1 - t) * start + t * end
    norms = start.norm() * end.norm()
    cosine = (start @ end / norms).clamp(-1, 1) if norms > 0 else torch.ones(())
    angle = torch.acos(cosine)
    if path == "linear" or torch.sin(angle) < 1e-4:  # (anti)parallel: the arc is not defined
        return straight
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)
