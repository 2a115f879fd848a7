"""Pixels by name: one uint8 tensor a split, from which batches are cut without per-image work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dlcli.data.catalogue import MNIST, named
from dlcli.data.checks import find
from dlcli.data.mnist import read_mnist
from dlcli.errors import DataError

Notice = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set of grey images in memory.

    Attributes:
        name: the true name, as it goes into signatures (never "auto").
        train: (N, 28, 28) uint8 training pixels, 0 the background and 255 full ink.
        train_labels: (N,) int64.
        test: (M, 28, 28) uint8 test pixels.
        test_labels: (M,) int64.
    """

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load_images(name: str = "auto", *, offline: bool = False, notice: Notice = print) -> ImageData:
    """Load a data set of images by name.

    Args:
        name: "mnist", "glyphs" or "auto" (mnist where it can be had, else glyphs with a notice).
        offline: never ask the network.
        notice: called with one sentence where the user should know something.

    Raises:
        ConfigError: there is no data set of that name.
        DataError: it cannot be had, or a file of it is wrong.
    """
    data_set = MNIST if name == "auto" else named(name)
    place = find(data_set)
    if place is None:
        raise DataError(f"'{data_set.name}' was not found.", hint="Set DL_DATA_DIR.")
    train, test = (read_mnist(place.folder, train=train) for train in (True, False))
    return ImageData(
        name=data_set.name,
        train=train.images,
        train_labels=train.labels,
        test=test.images,
        test_labels=test.labels,
    )
