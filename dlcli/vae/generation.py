"""Pictures from a trained VAE: `dl vae generate`, `reconstruct`, `interpolate` and `traverse`.

The run says which data set, binarisation and likelihood are meant. All randomness comes from a seed
and is drawn on the CPU: the same seed gives the same latents on every device.

Legend: N pictures, D latent dimensions, M numbers of a picture. Pictures are (N, H, W), and in
colour (N, H, W, 3).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcli.data.user_images import read_pictures
from dlcli.engine.checkpoint import snapshot_epochs, snapshot_name
from dlcli.engine.events import NoticeCallback
from dlcli.engine.runs import RunFolder
from dlcli.engine.seed import generator as named
from dlcli.errors import ConfigError, DataError, UsageFault
from dlcli.vae.elbo import batch_of, evaluating
from dlcli.vae.images import flat, model_input, pick_test_images
from dlcli.vae.networks import VAE
from dlcli.vae.trained import Trained, load_trained

Array = NDArray[np.float32]
Images = Sequence[int] | Sequence[Path]
"""Test images by number, from 0, or picture files, which are cropped and resized."""
LatentPath = Literal["spherical", "linear"]

SNAPSHOT_IMAGES = 64
MOST_ROWS = 20
"""Latents that a traversal shows unless some are named."""


@dataclass(frozen=True, eq=False)
class ImageModel:
    """A trained VAE at work, as `dlcli.load` returns it.

    Images are float arrays (N, H, W), in colour (N, H, W, 3), in [0, 1]; bytes are read too.
    Latents are arrays (N, D).
    """

    trained: Trained

    def generate(self, count: int = 16, *, seed: int = 0) -> Array:
        """Draw latents from the prior and return the means of p(x|z): `dl vae generate`."""
        return generate(self.trained, count=count, seed=seed).images

    def encode(self, images: object) -> Array:
        """Return the latents at the encoder's mean.

        Raises:
            ValueError: these are no images.
        """
        model = self.trained.model
        pixels = _pixels_of(images, shape=model.shape)
        with torch.inference_mode(), evaluating(model):
            return as_array(model.latents(model.encode(pixels)[0])[0])

    def decode(self, z: object) -> Array:
        """Return the means of p(x|z)."""
        latents = torch.as_tensor(z, dtype=torch.float32)
        return decode_gallery(self.trained.model, latents).images

    def reconstruct(self, images: object) -> Array:
        """Encode images and decode them again; with skip connections these are shown too.

        Raises:
            ValueError: these are no images.
        """
        model = self.trained.model
        pixels = _pixels_of(images, shape=model.shape)
        with torch.inference_mode(), evaluating(model):
            logits, _, _ = model(pixels, torch.zeros(len(pixels), model.latent_dim))
            return as_pictures(model.likelihood.mean(logits), shape=model.shape)


def _pixels_of(images: object, *, shape: tuple[int, ...]) -> Tensor:
    raw = np.asarray(images)
    pixels = raw / 255 if raw.dtype == np.uint8 else raw
    sound = raw.ndim == 1 + len(shape) and raw.shape[1:] == shape
    if not sound or not ((pixels >= 0) & (pixels <= 1)).all():
        raise ValueError(
            f"images have the shape (N, {', '.join(map(str, shape))}) and values from 0 to 1, not "
            f"{raw.shape} from {raw.min(initial=0):g} to {raw.max(initial=0):g}"
        )
    return torch.as_tensor(pixels, dtype=torch.float32).flatten(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Pictures that a decoder made."""

    images: Array
    """(N, H, W) or (N, H, W, 3) in [0, 1]."""
    z: Array
    """(N, D): the latents of the pictures."""
    columns: int
    """Pictures in a row when they are laid out."""
    label: str
    """What the pixels are, such as "mean of p(x|z)"."""
    rows: tuple[str, ...] = ()
    """What each row shows, where rows differ in kind."""


def generate(
    trained: Trained, *, count: int, seed: int, temperature: float = 1.0, draw: bool = False
) -> Gallery:
    """Draw latents from the prior and decode them: ancestral sampling (Question 1).

    Args:
        trained: the run's model.
        count: N.
        seed: of the latents, then of the pixels where `draw` is set.
        temperature: standard deviation of the latents; 1 is the model's own prior.
        draw: also draw the pixels, instead of showing their means.

    Raises:
        UsageFault: see `prior_latents`.
    """
    stream = named(seed, "generate")
    z = prior_latents(trained.model, count=count, generator=stream, temperature=temperature)
    return decode_gallery(trained.model, z, draw=draw, generator=stream)


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


def decode_gallery(
    model: VAE,
    z: Tensor,
    *,
    draw: bool = False,
    generator: torch.Generator | None = None,
    columns: int | None = None,
    rows: tuple[str, ...] = (),
) -> Gallery:
    """Decode latents into pictures.

    Args:
        model: put back into its mode afterwards.
        z: (N, D), on any device.
        draw: draw pixels from p(x|z) with `generator`, instead of showing their mean.
        generator: on the CPU; needed where `draw` is set.
        columns: pictures a row; a square where None.
        rows: what each row shows.
    """
    pixels = _shown(model, decoded(model, z), draw=draw, generator=generator)
    return Gallery(
        images=as_pictures(pixels, shape=model.shape),
        z=as_array(z),
        columns=columns or math.ceil(math.sqrt(len(z))),
        label=label_of(model, draw=draw),
        rows=rows,
    )


@torch.inference_mode()
def _shown(model: VAE, logits: Tensor, *, draw: bool, generator: torch.Generator | None) -> Tensor:
    """Return E[x|z], or draws from p(x|z), of logits on the CPU.

    Raises:
        ValueError: `draw` without a generator.
    """
    if not draw:
        return model.likelihood.mean(logits)
    if generator is None:
        raise ValueError("drawing pixels needs a generator")
    return model.likelihood.sample(logits, generator=generator)


@torch.inference_mode()
def decoded(model: VAE, z: Tensor) -> Tensor:
    """Return the logits (N, M) of latents (N, D), on the CPU, in evaluation mode."""
    device = next(model.parameters()).device
    parts = torch.split(z, batch_of(math.prod(model.shape)))
    with evaluating(model):
        return torch.cat([model.decode(part.to(device)).float().cpu() for part in parts])


def label_of(model: VAE, *, draw: bool) -> str:
    """Say what the pixels of a picture are."""
    return f"{model.likelihood.title} draw from p(x|z)" if draw else "mean of p(x|z)"


def as_pictures(pixels: Tensor, *, shape: tuple[int, ...]) -> Array:
    """Turn pixels (..., M) on any device into a float array (N, H, W) or (N, H, W, 3)."""
    return as_array(pixels.reshape(-1, *shape))


def as_array(values: Tensor) -> Array:
    """Turn a tensor on any device into a float32 array."""
    return values.detach().to(torch.float32).cpu().numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """Images and what the VAE makes of them."""

    inputs: Array
    """(N, H, W) or (N, H, W, 3) in [0, 1]: what the encoder saw."""
    images: Array
    """The same in shape: the reconstructions."""
    z: Array
    """(N, D)."""
    label: str

    def paired_rows(self, *, columns: int = 10) -> tuple[Array, tuple[str, ...]]:
        """Lay inputs above their reconstructions, in blocks of two rows of about equal length.

        Args:
            columns: the most pictures a row; where the last block is shorter, it ends in black.

        Returns:
            (2R, C, H, W), in colour (2R, C, H, W, 3), and what each row shows.
        """
        N, *shape = self.inputs.shape
        R = -(-N // columns)
        C = -(-N // R)
        rows = np.zeros((2, R * C, *shape), dtype=np.float32)
        rows[0, :N] = self.inputs
        rows[1, :N] = self.images
        blocks = rows.reshape(2, R, C, *shape).swapaxes(0, 1).reshape(2 * R, C, *shape)
        return blocks, ("input", "output") * R


@torch.inference_mode()
def reconstruct(
    trained: Trained,
    *,
    images: Images,
    seed: int,
    sample: bool = False,
    draw: bool = False,
    offline: bool = False,
    notice: NoticeCallback,
) -> Reconstruction:
    """Encode images and decode them again.

    Args:
        trained: the run's model; with skip connections, the decoder is shown the encoder's feature
            maps, as in training.
        images: which ones.
        seed: of what is to be drawn: inputs (of `dynamic`), then z, then pixels.
        sample: draw z from q(z|x) instead of taking its mean.
        draw: draw pixels from p(x|z) instead of showing their mean.
        offline: never ask the network for the data set.
        notice: called with a sentence where the user should know something.

    Raises:
        UsageFault, DataError: see `pick_test_images` and `read_pictures`.
    """
    model, data = trained.model, trained.config.data
    rows = flat(_pick(trained, images, offline=offline, notice=notice))
    stream = named(seed, "reconstruct")
    device = next(model.parameters()).device
    inputs = model_input(rows, way=data.binarize, generator=stream)
    eps = torch.zeros(len(inputs), model.latent_dim)
    where = "the mean of q(z|x)" if model.flow is None else "the encoder's mean"
    if sample:
        eps = torch.randn(eps.shape, generator=stream)
        where = "a draw from q(z|x)"
    with evaluating(model):
        logits, mean, logvar = (part.float() for part in model(inputs.to(device), eps.to(device)))
        z, _ = model.latents(mean + (0.5 * logvar).exp() * eps.to(device))
    pixels = _shown(model, logits.cpu(), draw=draw, generator=stream)
    return Reconstruction(
        inputs=as_pictures(inputs, shape=model.shape),
        images=as_pictures(pixels, shape=model.shape),
        z=as_array(z),
        label=f"{label_of(model, draw=draw)} at {where}",
    )


def _pick(trained: Trained, images: Images, *, offline: bool, notice: NoticeCallback) -> Tensor:
    """Return images, (N, H, W) or (N, H, W, 3) uint8."""
    files = [image for image in images if isinstance(image, Path)]
    if files:
        size = (trained.shape[0], trained.shape[1])
        return read_pictures(files, size=size, colour=len(trained.shape) == 3)
    numbers = [image for image in images if isinstance(image, int)]
    return pick_test_images(trained.config.data, numbers, offline=offline, notice=notice)


def interpolate_images(
    trained: Trained,
    *,
    images: Images,
    steps: int,
    path: LatentPath = "spherical",
    offline: bool = False,
    notice: NoticeCallback,
) -> Gallery:
    """Go from the posterior mean of one image to that of another; see `interpolate`.

    Raises:
        UsageFault: not two images, or one that does not exist.
    """
    if len(images) != 2:
        raise UsageFault(f"A path has two ends, not {len(images)}.", hint="Write --image 0 1.")
    start, end = posterior_means(trained, images, offline=offline, notice=notice)
    return interpolate(trained, start, end=end, steps=steps, path=path)


def interpolate_seeds(
    trained: Trained, *, seeds: Sequence[int], steps: int, path: LatentPath = "spherical"
) -> Gallery:
    """Go from one draw from the prior to another, one by each seed; see `interpolate`.

    Raises:
        UsageFault: not two seeds.
    """
    if len(seeds) != 2:
        raise UsageFault(f"A path has two ends, not {len(seeds)}.", hint="Write --seeds 0 1.")
    start, end = (
        prior_latents(trained.model, count=1, generator=named(seed, "interpolate"))[0]
        for seed in seeds
    )
    return interpolate(trained, start, end=end, steps=steps, path=path)


def interpolate(
    trained: Trained, start: Tensor, *, end: Tensor, steps: int = 10, path: LatentPath = "spherical"
) -> Gallery:
    """Go from one latent to another; both ends are included.

    Args:
        trained: decodes the path.
        start, end: (D,).
        steps: pictures on the path, 2 or more.
        path: `spherical` keeps to radii the prior knows (White 2016, section 2.1); `linear` is
            straight, and passes through shorter vectors than the prior draws.

    Raises:
        UsageFault: fewer than 2 steps.
    """
    if steps < 2:
        raise UsageFault(
            f"A path of {steps} pictures has no two ends.", hint="Use --steps 2 or more."
        )
    t = torch.linspace(0, 1, steps)[:, None]
    z = _between(start, end, t=t, path=path)
    return decode_gallery(trained.model, z, columns=steps)


def _between(start: Tensor, end: Tensor, *, t: Tensor, path: LatentPath) -> Tensor:
    """Return points (steps, D) from `start` to `end`, both (D,), at t (steps, 1)."""
    straight = (1 - t) * start + t * end
    norms = start.norm() * end.norm()
    cosine = (start @ end / norms).clamp(-1, 1) if norms > 0 else torch.ones(())
    angle = torch.acos(cosine)
    if path == "linear" or torch.sin(angle) < 1e-4:  # (anti)parallel: the arc is not defined
        return straight
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)


def traverse(
    trained: Trained,
    *,
    dims: Sequence[int] | None = None,
    steps: int = 9,
    span: float = 3.0,
    image: int | Path | None = None,
    seed: int | None = None,
    offline: bool = False,
    notice: NoticeCallback,
) -> Gallery:
    """Vary one latent at a time around a start, or two of them: a plane.

    The start is the posterior mean of an image. Around z = 0, the mean of the prior, a decoder
    may draw nothing: the prior hardly ever comes near it.

    Args:
        trained: the run's model.
        dims: latents from 0, one a row, or two that make a plane; without them those of
            `busiest_dims`, and of a model of two latents the whole plane.
        steps: pictures a row (and a column, of a plane).
        span: how far a row reaches to both sides, prior standard deviations.
        image: to start from, a test image by number or a picture file; the first test image where
            None.
        seed: of a draw from the prior to start from instead of an image.
        offline: never use the network for the data set.
        notice: called with a sentence where the user should know something.

    Returns:
        pictures, whose label says where they start.

    Raises:
        UsageFault: a latent or an image that does not exist, or both `image` and `seed`.
    """
    model = trained.model
    _check_dims(model, dims or ())
    if image is not None and seed is not None:
        raise UsageFault("--image and --seed are two starts.", hint="Give one of them.")
    two = model.latent_dim == 2 and image is None and seed is None
    if two and (dims is None or sorted(dims) == [0, 1]):
        plane = _plane(model, size=steps)
        what = "z[0] to the right and z[1] upwards, in equal shares of the prior"
        return dataclasses.replace(plane, label=f"{plane.label}: {what}")
    z, start = _start(trained, image=image, seed=seed, offline=offline, notice=notice)
    ticks = torch.linspace(-span, span, steps)
    reach = f"from -{span:g} to {span:g}, around {start}"
    if dims is not None and len(dims) == len(set(dims)) == 2:
        right, up = dims
        grid = z.repeat(steps, steps, 1)
        grid[..., right], grid[..., up] = ticks, ticks.flip(0)[:, None]
        made = decode_gallery(model, grid.flatten(0, 1), columns=steps)
        what = f"z[{right}] to the right and z[{up}] upwards {reach}"
    else:
        rows = busiest_dims(trained, z) if dims is None else dims
        made = _along(model, z, dims=rows, ticks=ticks)
        what = f"each row one latent {reach}"
    return dataclasses.replace(made, label=f"{made.label}: {what}")


def _check_dims(model: VAE, dims: Sequence[int]) -> None:
    for dim in dims:
        if not 0 <= dim < model.latent_dim:
            raise UsageFault(
                f"The model has no latent dimension {dim}.",
                hint=f"Its dimensions are 0 to {model.latent_dim - 1}.",
            )


def _start(
    trained: Trained,
    *,
    image: int | Path | None,
    seed: int | None,
    offline: bool,
    notice: NoticeCallback,
) -> tuple[Tensor, str]:
    """Return the latents (D,) that a traversal starts from, and what they are."""
    if seed is None:
        images: Images = [image] if isinstance(image, Path) else [image or 0]
        name = image if isinstance(image, Path) else f"test image {image or 0}"
        try:
            z = posterior_means(trained, images, offline=offline, notice=notice)[0]
        except (ConfigError, DataError) as error:
            if image is not None:
                raise
            notice(f"{error.message} Starting from a draw from the prior instead.")
        else:
            return z, f"the posterior mean of {name}"
    seed = seed or 0
    z = prior_latents(trained.model, count=1, generator=named(seed, "traverse"))[0]
    return z, f"the prior draw of seed {seed}"


def busiest_dims(trained: Trained, z: Tensor) -> list[int]:
    """Order latents by `latent_weights`, most first, and cut to `MOST_ROWS`."""
    weights, _ = latent_weights(trained, z)
    return weights.argsort(descending=True, stable=True)[:MOST_ROWS].tolist()


def latent_weights(trained: Trained, z: Tensor) -> tuple[Tensor, bool]:
    """Return how much each latent matters, (D,), and whether that is its recorded KL in nats.

    Where none is recorded, or with a learned prior, which has no KL for each, it is by how much
    each changes the picture at `z` (D,): the variance of its pixels along the latent's row.
    """
    model = trained.model
    weights = torch.tensor(_recorded_kl(trained))
    if len(weights):
        return weights, True
    dims = range(model.latent_dim)
    ticks = torch.linspace(-3, 3, 5)
    shown = _along(model, z, dims=dims, ticks=ticks)
    return torch.from_numpy(shown.images).view(len(dims), len(ticks), -1).var(1).sum(-1), False


def _recorded_kl(trained: Trained) -> list[float]:
    """Return the KL of each latent: of the run's result, or of its newest evaluation."""
    rows = trained.run.metrics()
    found: list[object] = [trained.run.record().get("result"), *rows[-1:]]
    if trained.checkpoint.startswith("epoch-"):
        found = [row for row in rows if row.get("epoch") == trained.epochs]
    for row in found:
        kl = row.get("kl_per_dim") if isinstance(row, dict) else None
        if isinstance(kl, list) and len(kl) == trained.model.latent_dim:
            return [float(value) for value in kl]
    return []


def _along(model: VAE, z: Tensor, *, dims: Sequence[int], ticks: Tensor) -> Gallery:
    """Vary each of some latents over `ticks`, the others kept as in `z` (D,)."""
    grid = z.expand(len(dims), len(ticks), -1).clone()
    for row, dim in enumerate(dims):
        grid[row, :, dim] = ticks
    rows = tuple(f"z[{dim}]" for dim in dims)
    return decode_gallery(model, grid.flatten(0, 1), columns=len(ticks), rows=rows)


def _plane(model: VAE, *, size: int) -> Gallery:
    """Decode the whole plane of a two-dimensional latent space.

    The grid is the inverse normal distribution function of equal steps, so that every picture
    stands for the same share of the prior (Kingma & Welling 2014, figure 4). z[0] grows to the
    right and z[1] upwards.
    """
    ticks = torch.special.ndtri((torch.arange(size, dtype=torch.float64) + 0.5) / size).float()
    up, right = torch.meshgrid(ticks.flip(0), ticks, indexing="ij")
    z = torch.stack([right.flatten(), up.flatten()], dim=1)
    return decode_gallery(model, z, columns=size)


@torch.inference_mode()
def posterior_means(
    trained: Trained, images: Images, *, offline: bool = False, notice: NoticeCallback
) -> Tensor:
    """Encode images into the means of q(z|x), or with a flow what it makes of v's: (N, D)."""
    model, data = trained.model, trained.config.data
    rows = flat(_pick(trained, images, offline=offline, notice=notice))
    inputs = model_input(rows, way=data.binarize, generator=named(0, "encode"))
    device = next(model.parameters()).device
    with evaluating(model):
        parts = torch.split(inputs, batch_of(inputs.shape[1]))
        means = (model.encode(part.to(device))[0] for part in parts)
        return torch.cat([model.latents(mean)[0] for mean in means]).float().cpu()


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """What a VAE drew after some epochs."""

    epoch: int
    gallery: Gallery


def take_snapshot(model: VAE, *, seed: int, epoch: int, count: int = SNAPSHOT_IMAGES) -> Snapshot:
    """Decode the first latents of a run's snapshots, the same at every epoch, into means."""
    stream = named(seed, "snapshot")
    z = torch.randn(SNAPSHOT_IMAGES, model.latent_dim, generator=stream)[:count]
    return Snapshot(epoch=epoch, gallery=decode_gallery(model, z))


def snapshots_of(run: RunFolder) -> list[Snapshot]:
    """Draw the snapshots of a run again, from the checkpoints it kept."""
    found = []
    for epoch in snapshot_epochs(run):
        trained = load_trained(run, checkpoint=snapshot_name(epoch))
        seed = trained.config.compute.seed
        found.append(take_snapshot(trained.model, seed=seed, epoch=epoch))
    return found
