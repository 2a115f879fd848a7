"""Walks through latent space: from one point to another, along one latent, over a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dlcli.errors import UsageFault
from dlcli.vae.gallery import Gallery, decode_gallery
from dlcli.vae.model import VAE

Path = Literal["spherical", "linear"]


def interpolate(
    model: VAE,
    start: Tensor,
    *,
    end: Tensor,
    steps: int = 10,
    path: Path = "spherical",
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


def _between(start: Tensor, end: Tensor, *, t: Tensor, path: Path) -> Tensor:
    """Return points (steps, D) from `start` to `end`, both (D,), at t (steps, 1)."""
    straight = (1 - t) * start + t * end
    norms = start.norm() * end.norm()
    cosine = (start @ end / norms).clamp(-1, 1) if norms > 0 else torch.ones(())
    angle = torch.acos(cosine)
    if path == "linear" or torch.sin(angle) < 1e-4:  # (anti)parallel: the arc is not defined
        return straight
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)
