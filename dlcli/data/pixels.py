"""What a set of images is in memory, and how images come to the size and colours that are wanted.

Grey images are (N, H, W) uint8 and colour ones (N, H, W, 3), channels last: the order of Pillow,
numpy and matplotlib, and of the convolutional network's maps.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.errors import ConfigError

Size = tuple[int, int]
"""Height and width in pixels."""
SMALLEST, LARGEST = 8, 128
"""Pixels of a side that a network is built for."""
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


def read_size(text: str) -> Size | None:
    """Read an image size: "32" is square, "20x48" is height by width, "auto" is None.

    Raises:
        ConfigError: it is neither, or a side is not 8 to 128 pixels.
    """
    if text == "auto":
        return None
    match = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text, re.ASCII)
    if match is None:
        raise ConfigError(
            f"--image-size {text} is no size.",
            hint="Write 32, or HEIGHTxWIDTH such as 20x48; auto is the images' own.",
        )
    size = int(match[1]), int(match[2] or match[1])
    check_size(size, what=f"--image-size {text}")
    return size


def check_size(size: Sequence[int], *, what: str) -> None:
    """Refuse images that are too small or too large for the networks.

    Raises:
        ConfigError: a side is not 8 to 128 pixels.
    """
    H, W = size[:2]
    if not (SMALLEST <= H <= LARGEST and SMALLEST <= W <= LARGEST):
        raise ConfigError(
            f"{what}: {H}x{W} pixels (height x width) are outside of {SMALLEST} to {LARGEST} a "
            "side.",
            hint=f"Add --image-size with sides of {SMALLEST} to {LARGEST} pixels, such as 64.",
        )


def fitted(images: Tensor, *, size: Size | None, colour: bool | None) -> Tensor:
    """Bring images (N, H, W) or (N, H, W, 3) uint8 to a size, and to grey or colour.

    What does not have the proportions of `size` is cropped at its middle, then resized with
    antialiasing. Grey is the luma of ITU-R 601, as in Pillow.

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
        images = torch.cat([_resized(part, size) for part in torch.split(images, _BLOCK)])
    if colour and images.dim() == 3:
        images = images[..., None].repeat(1, 1, 1, 3)
    return images


def _resized(images: Tensor, size: Size) -> Tensor:
    maps = images.float()
    maps = maps[:, None] if images.dim() == 3 else maps.permute(0, 3, 1, 2)  # (N, C, H, W)
    (H, W), (height, width) = maps.shape[2:], size
    scale = min(H / height, W / width)
    tall, broad = min(H, round(height * scale)), min(W, round(width * scale))
    top, left = (H - tall) // 2, (W - broad) // 2
    maps = maps[:, :, top : top + tall, left : left + broad]
    maps = F.interpolate(maps, size=size, mode="bilinear", antialias=True, align_corners=False)
    found = maps.round().clamp(0, 255).to(torch.uint8)
    return found[:, 0] if images.dim() == 3 else found.permute(0, 2, 3, 1).contiguous()


def refitted(data: ImageData, *, size: Size | None, colour: bool | None) -> ImageData:
    """Bring a whole set to a size and to grey or colour; see `fitted`."""
    train = fitted(data.train, size=size, colour=colour)
    test = fitted(data.test, size=size, colour=colour)
    return dataclasses.replace(data, train=train, test=test)


def held_out(names: Sequence[bytes]) -> list[bool]:
    """Choose a tenth of images for the test by a hash of their names: the same each time.

    Of few images it is at least one, and never all.
    """
    hashes = [int.from_bytes(hashlib.blake2b(n, digest_size=8).digest(), "little") for n in names]
    chosen = [number % 10 == 0 for number in hashes]
    if not any(chosen) or all(chosen):
        chosen = [number == min(hashes) for number in hashes]
    return chosen
