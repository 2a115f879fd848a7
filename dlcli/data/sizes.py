"""Sizes of images, as people write them and as networks take them. Without torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dlcli.errors import ConfigError

Size = tuple[int, int]
"""Height and width in pixels."""
SMALLEST, LARGEST = 8, 128
"""Pixels of a side that a network is built for."""


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
