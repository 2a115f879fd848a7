"""Pictures of a trained run, from plain wishes: counts, seeds, numbers of test images.

What the commands `dl vae generate`, `reconstruct`, `interpolate` and `traverse` show. The model's
own data set, binarisation and likelihood are taken from its run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dlcli.engine.checkpoint import snapshot_epochs, snapshot_name
from dlcli.engine.runs import RunFolder
from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.vae.generation import (
    Gallery,
    Reconstruction,
    change_along,
    decode_gallery,
    generate,
    interpolate,
    plane,
    posterior_means,
    prior_latents,
    reconstruct,
    traverse,
)
from dlcli.vae.generation import LatentPath as LatentPath
from dlcli.vae.gradients import GradientComparison, compare_gradient_estimators
from dlcli.vae.images import load_test_images
from dlcli.vae.networks import VAE
from dlcli.vae.trained import Trained, describe, load_trained

# -- The same latents at several epochs, like the seed's Figures 1 and 2

SNAPSHOT_IMAGES = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """What a VAE drew after some epochs."""

    epoch: int
    gallery: Gallery


def snapshot_latents(seed: int, *, latent_dim: int, count: int = SNAPSHOT_IMAGES) -> Tensor:
    """Draw the latents (count, D) of a run's snapshots: the same at every epoch."""
    return torch.randn(count, latent_dim, generator=generator(seed, "snapshot"))


def take_snapshot(model: VAE, *, seed: int, epoch: int, likelihood: str = "bernoulli") -> Snapshot:
    """Decode a run's snapshot latents into means."""
    z = snapshot_latents(seed, latent_dim=model.latent_dim)
    return Snapshot(epoch=epoch, gallery=decode_gallery(model, z, likelihood=likelihood))


def snapshots_of(run: RunFolder) -> list[Snapshot]:
    """Draw the snapshots of a run again, from the checkpoints it kept."""
    found = []
    for epoch in snapshot_epochs(run):
        trained = load_trained(run, checkpoint=snapshot_name(epoch))
        found.append(
            take_snapshot(
                trained.model,
                seed=trained.config.compute.seed,
                epoch=epoch,
                likelihood=trained.config.objective.likelihood,
            )
        )
    return found


def snapshot_epoch(path: Path) -> int | None:
    """Return the epoch of a kept checkpoint's path, or None for `last` and `best`."""
    number = path.stem.removeprefix("epoch-")
    return int(number) if path.stem.startswith("epoch-") and number.isdigit() else None


Notice = Callable[[str], object]
MOST_ROWS = 20


def sample_pictures(
    trained: Trained, *, count: int, seed: int, temperature: float = 1.0, draw: bool = False
) -> Gallery:
    """Draw `count` pictures by ancestral sampling; see `generate`."""
    return generate(
        trained.model,
        count=count,
        generator=generator(seed, "generate"),
        temperature=temperature,
        draw=draw,
        likelihood=trained.config.objective.likelihood,
    )


def reconstructions(
    trained: Trained,
    *,
    images: Sequence[int],
    seed: int,
    sample: bool = False,
    draw: bool = False,
    offline: bool = False,
    notice: Notice,
) -> Reconstruction:
    """Reconstruct the test images of these numbers, from 0; see `reconstruct`."""
    return reconstruct(
        trained.model,
        pick_test_images(trained, images, offline=offline, notice=notice),
        generator=generator(seed, "reconstruct"),
        sample=sample,
        draw=draw,
        binarize=trained.config.data.binarize,
        likelihood=trained.config.objective.likelihood,
    )


def path_between_images(
    trained: Trained,
    *,
    images: Sequence[int],
    steps: int,
    path: LatentPath = "spherical",
    offline: bool = False,
    notice: Notice,
) -> Gallery:
    """Walk between the posterior means of two test images; see `interpolate`.

    Raises:
        UsageFault: not two images, or one that does not exist.
    """
    if len(images) != 2:
        raise UsageFault(f"{len(images)} images are not two ends.", hint="Write --images 0 1.")
    z = _latents_of(trained, images, offline=offline, notice=notice)
    return _walk(trained, z[0], z[1], steps=steps, path=path)


def path_between_seeds(
    trained: Trained, *, seeds: Sequence[int], steps: int, path: LatentPath = "spherical"
) -> Gallery:
    """Walk between two draws from the prior, one by each seed; see `interpolate`.

    Raises:
        UsageFault: not two seeds.
    """
    if len(seeds) != 2:
        raise UsageFault(f"{len(seeds)} seeds are not two ends.", hint="Write --seeds 0 1.")
    start, end = (
        prior_latents(trained.model, count=1, generator=generator(seed, "interpolate"))[0]
        for seed in seeds
    )
    return _walk(trained, start, end, steps=steps, path=path)


def traversal(
    trained: Trained,
    *,
    dims: Sequence[int] | None = None,
    steps: int = 9,
    span: float = 3.0,
    image: int | None = None,
    offline: bool = False,
    notice: Notice,
) -> Gallery:
    """Vary one latent at a time; without `dims`, a two-dimensional latent space is a plane.

    Args:
        trained: the run's model.
        dims: latents from 0, one a row; without them the `MOST_ROWS` of `busiest_dims`.
        steps: pictures a row (and a column, of a plane).
        span: how far a row reaches to both sides, prior standard deviations.
        image: number of the test image to start from; the prior's mean where None.
        offline: never ask the network for the data set.
        notice: told one sentence where the user should know something.
    """
    model, likelihood = trained.model, trained.config.objective.likelihood
    if dims is None and model.latent_dim == 2:
        return plane(model, size=steps, likelihood=likelihood)
    z = torch.zeros(model.latent_dim)
    if image is not None:
        z = _latents_of(trained, [image], offline=offline, notice=notice)[0]
    rows = busiest_dims(trained) if dims is None else dims
    return traverse(model, z, dims=rows, steps=steps, span=span, likelihood=likelihood)


def gradients_of(
    trained: Trained,
    *,
    images: int,
    samples: int,
    seed: int,
    offline: bool = False,
    notice: Notice,
) -> tuple[GradientComparison, str]:
    """Compare gradient estimators on the first `images` test images; see that function.

    Returns:
        the comparison and its signature.
    """
    found = compare_gradient_estimators(
        trained.model,
        pick_test_images(trained, range(images), offline=offline, notice=notice),
        samples=samples,
        generator=generator(seed, "gradients"),
        likelihood=trained.config.objective.likelihood,
    )
    line = describe(
        trained.config,
        data=trained.config.data.name,
        split="test",
        images=images,
        estimator="pathwise,score-function",
        samples=samples,
        sampling_seed=seed,
        checkpoint=trained.checkpoint,
        precision="fp32",
    )
    return found, line


def busiest_dims(trained: Trained) -> list[int]:
    """Order latents by the KL recorded with the run, most first, and cut to `MOST_ROWS`.

    A learned prior has no KL for each: then by how much each changes the picture.
    """
    if trained.model.flow is not None:
        changes = change_along(trained.model, likelihood=trained.config.objective.likelihood)
        return changes.argsort(descending=True, stable=True)[:MOST_ROWS].tolist()
    result = trained.run.record().get("result")
    recorded = result.get("kl_per_dim") if isinstance(result, dict) else None
    dims = list(range(trained.model.latent_dim))
    if isinstance(recorded, list) and len(recorded) == len(dims):
        dims.sort(key=lambda dim: -float(recorded[dim]))
    return dims[:MOST_ROWS]


def pick_test_images(
    trained: Trained, numbers: Sequence[int], *, offline: bool = False, notice: Notice
) -> Tensor:
    """Return the test images (N, 28, 28) uint8 of these numbers, from the run's own data set.

    Raises:
        UsageFault: there are none of that number.
        DataError: the data set cannot be had.
    """
    data = dataclasses.replace(trained.config.data, offline=offline or trained.config.data.offline)
    images = load_test_images(data, notice=notice)
    if not numbers:
        raise UsageFault("No test image was asked for.", hint="Ask for 1 or more with --n.")
    for number in numbers:
        if not 0 <= number < len(images):
            raise UsageFault(
                f"There is no test image {number}.",
                hint=f"Test images are numbered 0 to {len(images) - 1}.",
            )
    return images[list(numbers)]


def _latents_of(
    trained: Trained, numbers: Sequence[int], *, offline: bool, notice: Notice
) -> Tensor:
    """Encode test images: the posterior means (N, D)."""
    return posterior_means(
        trained.model,
        pick_test_images(trained, numbers, offline=offline, notice=notice),
        binarize=trained.config.data.binarize,
        generator=generator(0, "encode"),
    )


def _walk(trained: Trained, start: Tensor, end: Tensor, *, steps: int, path: LatentPath) -> Gallery:
    likelihood = trained.config.objective.likelihood
    return interpolate(trained.model, start, end=end, steps=steps, path=path, likelihood=likelihood)
