"""The images of a VAE: what is trained on and tested on, and the pixels in [0, 1] that it sees.

`load_splits` cuts a data set, `model_input` turns bytes 0 to 255 into pixels in one of three ways:

- `none`: the grey value itself, x/255. A Bernoulli cross-entropy against it is what the assignment
  trains on, but it is not the likelihood of anything.
- `dynamic`: a Bernoulli draw with mean x/255, made anew each time an image is used (Salakhutdinov &
  Murray 2008; Burda et al. 2016).
- `fixed`: one such draw for the whole set. It is our own, by the published seed `FIXED_SEED`; it is
  *not* Larochelle's file, and signatures say so.

Shapes: N images, B of a batch, M numbers of an image in a row: 784 = 28·28 pixels of MNIST, three
of each pixel in colour, next to one another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.data.images import load_images
from dlcli.data.pixels import ImageData
from dlcli.data.sizes import read_size
from dlcli.engine.events import NoticeCallback, ProgressCallback, no_progress
from dlcli.engine.seed import generator as named_generator
from dlcli.errors import ConfigError, UsageFault, plural
from dlcli.vae.config import VaeDataConfig

FIXED_SEED = 537
"""Seed of the one draw that `fixed` makes; part of its published definition."""

DESCRIPTIONS = {
    "none": "grey",
    "dynamic": "binarized-dynamically",
    "fixed": f"binarized-once-by-dlcli-seed-{FIXED_SEED}",
}
"""What a signature says of each way."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """Images (N, H, W) or (N, H, W, 3) uint8; with `--binarize fixed` already black and white."""

    name: str
    """The data set's true name, never "auto"."""
    train: Tensor
    validation: Tensor
    """May be empty."""
    test: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, (H, W) or (H, W, 3)."""
        return tuple(self.train.shape[1:])

    @property
    def sets(self) -> dict[str, str]:
        """What each split is of, in a few words."""
        found = {"training": plural(len(self.train), "image")}
        if len(self.validation):
            found["validation"] = plural(len(self.validation), "image")
        return {**found, "test": plural(len(self.test), "image")}


def images_of(
    config: VaeDataConfig, *, notice: NoticeCallback, progress: ProgressCallback = no_progress
) -> ImageData:
    """Load the data set that a run's settings name, at their size and in their colours.

    Raises:
        ConfigError, DataError: see `dlcli.data.images.load_images`.
    """
    return load_images(
        config.name,
        size=read_size(config.image_size),
        colour=config.colour,
        offline=config.offline,
        notice=notice,
        progress=progress,
    )


def load_splits(config: VaeDataConfig, *, notice: NoticeCallback) -> Splits:
    """Load a data set and cut it.

    Validation images come from the end of the training set, and `train_images` counts from its
    beginning; an image's fixed binarisation depends on neither.

    Args:
        config: which data set, and how it is cut and binarised.
        notice: called with a sentence where the user should know something.

    Raises:
        ConfigError: there are fewer images than that.
        DataError: the data set cannot be had.
    """
    found = images_of(config, notice=notice)
    whole, test = found.train, found.test
    if config.binarize == "fixed":
        whole, test = fixed_draw(whole, split="train"), fixed_draw(test, split="test")
    left = len(whole) - config.validation
    if left < 1:
        raise ConfigError(
            f"--validation {config.validation} leaves nothing to train on: {found.name} has "
            f"{plural(len(whole), 'training image')}.",
            hint=f"Use --validation {len(whole) // 10} or so.",
        )
    if config.train_images > left:
        raise ConfigError(
            f"--train-images {config.train_images} is more than there are, {left:,}.",
            hint="Use --train-images 0 for all of them.",
        )
    return Splits(
        name=found.name,
        train=whole[: config.train_images or left],
        validation=whole[left:],
        test=test,
    )


def load_test_images(config: VaeDataConfig, *, notice: NoticeCallback) -> Tensor:
    """Load the test images alone, (N, H, W) or (N, H, W, 3) uint8; with `fixed` already drawn.

    Raises:
        DataError: the data set cannot be had.
    """
    test = images_of(config, notice=notice).test
    return fixed_draw(test, split="test") if config.binarize == "fixed" else test


def pick_test_images(
    config: VaeDataConfig,
    numbers: Sequence[int],
    *,
    offline: bool = False,
    notice: NoticeCallback,
) -> Tensor:
    """Return the test images of these numbers, from 0: (N, H, W) or (N, H, W, 3) uint8.

    Args:
        config: which data set.
        numbers: of the images.
        offline: never ask the network for it, whatever `config` says.
        notice: called with a sentence where the user should know something.

    Raises:
        UsageFault: there are none of that number.
        DataError: the data set cannot be had.
    """
    data = dataclasses.replace(config, offline=offline or config.offline)
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


def flat(images: Tensor) -> Tensor:
    """View images (N, H, W) or (N, H, W, 3) as rows (N, M).

    Raises:
        ValueError: they are not uint8.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"pixels must be uint8 in 0 to 255, not {images.dtype}")
    return images.flatten(1)


def grey(rows: Tensor) -> Tensor:
    """Scale bytes to float32 in [0, 1]."""
    return rows.to(torch.float32).div_(255)


def threshold_draws(count: int, *, pixels: int, generator: torch.Generator) -> Tensor:
    """Draw uint8 (count, pixels), uniform on 0 to 254, on the generator's device.

    A byte x exceeds its draw with probability exactly x/255.
    """
    draws = torch.empty(count, pixels, dtype=torch.uint8, device=generator.device)
    return draws.random_(0, 255, generator=generator)


def binarize(rows: Tensor, *, draws: Tensor) -> Tensor:
    """Compare bytes with their draws: float32, 1 with probability x/255 and else 0."""
    return (rows > draws).to(torch.float32)


def fixed_draw(images: Tensor, *, split: str) -> Tensor:
    """Binarise a whole set once: bytes 0 and 255, the same on every machine and in every run.

    Args:
        images: (N, …) uint8, on the CPU, the split in its published order.
        split: "train" or "test"; each has its own draw.

    Returns:
        uint8 of the same shape.
    """
    rows = flat(images)
    stream = named_generator(FIXED_SEED, "fixed binarization", split)
    out = torch.empty_like(rows)
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000]
        draws = threshold_draws(len(part), pixels=rows.shape[1], generator=stream)
        out[start : start + 1000] = (part > draws) * 255
    return out.view_as(images)


def model_input(rows: Tensor, *, way: str, generator: torch.Generator | None = None) -> Tensor:
    """Turn bytes (B, M) into the pixels of one use.

    Args:
        rows: uint8; for `fixed`, what `fixed_draw` made.
        way: `none`, `dynamic` or `fixed`.
        generator: on the device of `rows`; needed for `dynamic` only.
    """
    if way != "dynamic":
        return grey(rows)
    if generator is None:
        raise ValueError("dynamic binarisation needs a generator")
    draws = threshold_draws(len(rows), pixels=rows.shape[1], generator=generator)
    return binarize(rows, draws=draws)
