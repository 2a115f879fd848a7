"""The images of a training: what is trained on, validated on, and read once at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dlcli.data import load_images
from dlcli.errors import ConfigError
from dlcli.vae.config import VaeDataConfig
from dlcli.vae.pixels import fixed_draw


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """Images (N, 28, 28) uint8; with `--binarize fixed` they are already black and white."""

    name: str
    """The data set's true name, never "auto"."""
    train: Tensor
    validation: Tensor
    """May be empty."""
    test: Tensor


def load_splits(config: VaeDataConfig, *, notice: Callable[[str], object]) -> Splits:
    """Load a data set and cut it.

    Validation images come from the end of the training set, and `train_images` counts from its
    beginning; an image's fixed binarisation depends on neither.

    Args:
        config: which data set, and how it is cut and binarised.
        notice: told one sentence where the user should know something.

    Raises:
        ConfigError: more images are asked for than there are.
        DataError: the data set cannot be had.
    """
    found = load_images(config.name, offline=config.offline, notice=notice)
    whole, test = found.train, found.test
    if config.binarize == "fixed":
        whole, test = fixed_draw(whole, split="train"), fixed_draw(test, split="test")
    left = len(whole) - config.validation
    if left < 1:
        raise ConfigError(
            f"--validation {config.validation} leaves nothing to train on: {found.name} has "
            f"{len(whole)} training images.",
            hint=f"Use --validation {len(whole) // 10} or so.",
        )
    if config.train_images > left:
        raise ConfigError(
            f"--train-images {config.train_images} is more than the {left} images there are.",
            hint="Use --train-images 0 for all of them.",
        )
    return Splits(
        name=found.name,
        train=whole[: config.train_images or left],
        validation=whole[left:],
        test=test,
    )


def load_test_images(config: VaeDataConfig, *, notice: Callable[[str], object]) -> Tensor:
    """Load the test images alone, (M, 28, 28) uint8; with `fixed` already drawn.

    Raises:
        DataError: the data set cannot be had.
    """
    test = load_images(config.name, offline=config.offline, notice=notice).test
    return fixed_draw(test, split="test") if config.binarize == "fixed" else test
