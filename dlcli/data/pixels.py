"""What a set of images is in memory, and how images come to the size and colours that are wanted.

Grey images are (N, H, W) uint8 and colour ones (N, H, W, 3), channels last: the order of Pillow,
numpy and matplotlib, and of the convolutional network's maps.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dlcli.data.sizes import Size

if TYPE_CHECKING:
    from PIL import Image

_BLOCK = 1000


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set of images; what comes from the user's files stays on disk, memory-mapped.

    Attributes:
        name: the true name, as it goes into signatures (never "auto").
        train: (N, H, W) or (N, H, W, 3) uint8 training pixels, 0 black and 255 full ink or light.
        train_labels: (N,) int64, or None where there are none.
        test: (M, …) uint8 test pixels.
        test_labels: (M,) int64, or None.
    """

    name: str
    train: Tensor
    train_labels: Tensor | None
    test: Tensor
    test_labels: Tensor | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: (H, W) or (H, W, 3)."""
        return tuple(self.train.shape[1:])


def fitted(images: Tensor, *, size: Size | None, colour: bool | None) -> Tensor:
    """Bring images (N, H, W) or (N, H, W, 3) uint8 to a size, and to grey or colour.

    Each is `cropped`. Grey is the luma of ITU-R 601, as in Pillow.

    Args:
        images: what there is.
        size: None keeps their own.
        colour: None keeps what they are.
    """
    if colour is False and images.dim() == 4:
        weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32)
        grey = [
            ((part.int() * weights).sum(-1) + 2**15) >> 16 for part in torch.split(images, _BLOCK)
        ]
        images = torch.cat(grey).to(torch.uint8)
    if size is not None and images.shape[1:3] != size:
        from PIL import Image

        pictures = (cropped(Image.fromarray(image), size) for image in images.numpy())
        images = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    if colour and images.dim() == 3:
        images = images[..., None].repeat(1, 1, 1, 3)
    return images


def cropped(picture: Image.Image, size: Size) -> Image.Image:
    """Crop a picture at its middle to the proportions of a size, then resize with antialiasing."""
    from PIL import Image, ImageOps

    H, W = size
    if picture.size == (W, H):
        return picture
    return ImageOps.fit(picture, (W, H), Image.Resampling.BILINEAR)


def refitted(data: ImageData, *, size: Size | None, colour: bool | None) -> ImageData:
    """Bring a whole set to a size and to grey or colour; see `fitted`."""
    train = fitted(data.train, size=size, colour=colour)
    test = fitted(data.test, size=size, colour=colour)
    return dataclasses.replace(data, train=train, test=test)


def held_out(names: Sequence[bytes]) -> list[bool]:
    """Choose a tenth of images for the test by a hash of their names: the same each time.

    Of few images it is at least one, and never all.
    """
    hashes = [hash_of(name) for name in names]
    chosen = [number % 10 == 0 for number in hashes]
    if not any(chosen) or all(chosen):
        chosen = [number == min(hashes) for number in hashes]
    return chosen


def hash_of(name: bytes) -> int:
    """Return 64 bits that follow from a name, the same each time."""
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
