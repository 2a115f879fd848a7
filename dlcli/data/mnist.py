"""MNIST, read with torchvision's class from files that were checked before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dlcli.data.vision import torchvision_module


@dataclass(frozen=True, kw_only=True)
class Split:
    """One half of MNIST.

    Attributes:
        images: (N, 28, 28) uint8, 0 the background and 255 full ink.
        labels: (N,) int64, the digit.
    """

    images: Tensor
    labels: Tensor


def read_mnist(folder: Path, *, train: bool) -> Split:
    """Read the training or test half from a data folder whose files were checked."""
    data = _reader()(root=str(folder), train=train, download=False)
    return Split(images=data.data, labels=data.targets)


def _reader() -> Any:
    """Return torchvision's MNIST class, made to read the raw files and nothing else.

    The class prefers `processed/training.pt`, left by torchvision before 2020, to the raw files.
    Those are not checked, so it is shown a folder that has none.
    """
    base = torchvision_module("torchvision.datasets.mnist").MNIST
    return type("MNIST", (base,), {"processed_folder": property(lambda self: self.raw_folder)})
