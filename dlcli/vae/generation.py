"""Samples and reconstructions from a VAE.

Randomness comes from the `generator` that is passed in (on the CPU, so that every device gives the
same latents): the same generator state gives the same bytes.

Legend: N pictures, D latent dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlcli.errors import UsageFault
from dlcli.vae.evaluation import evaluating
from dlcli.vae.gallery import (
    Gallery,
    Reconstruction,
    as_array,
    as_pictures,
    decode_gallery,
    label_of,
    pixel_values,
)
from dlcli.vae.model import VAE
from dlcli.vae.pixels import flat, model_input


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
