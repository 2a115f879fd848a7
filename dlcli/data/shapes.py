"""The embedded data set `shapes`: coloured shapes with six independent factors of variation.

Like dSprites (Matthey et al. 2017), in colour: which shape, its hue, its size, where it is and how
it is turned are drawn independently, all uniform. A traversal of a trained model can be held
against them.

`N` shapes, `B` of a block, H × W pixels. Lengths are in halves of the image's shorter side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NAMES = ("square", "ellipse", "triangle", "cross")
"""The shapes; a label is a position here."""
SIDE = 32
SIZES = (0.28, 0.55)
"""Smallest and largest radius of a shape."""
REACH = 0.4
"""How far a centre lies from the middle of the image, at most."""
BACKGROUND = 0.08
_SUBPIXELS = 3
_BLOCK = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """What N shapes are drawn from; each (N,)."""

    shape: Tensor
    """A position in `NAMES`, int64."""
    hue: Tensor
    """0 to 1, red at both ends."""
    size: Tensor
    """Radius."""
    x: Tensor
    """To the right of the middle."""
    y: Tensor
    """Below the middle."""
    angle: Tensor
    """Radians, 0 to 2π."""


def draw_factors(count: int, *, generator: torch.Generator) -> Factors:
    """Draw the factors of `count` shapes; the first n of a longer draw are the same."""
    u = torch.rand(count, 6, generator=generator, dtype=torch.float64).unbind(1)
    low, high = SIZES
    return Factors(
        shape=(u[0] * len(NAMES)).long(),
        hue=u[1],
        size=low + (high - low) * u[2],
        x=REACH * (2 * u[3] - 1),
        y=REACH * (2 * u[4] - 1),
        angle=2 * math.pi * u[5],
    )


def render(factors: Factors, *, size: tuple[int, int] = (SIDE, SIDE)) -> Tensor:
    """Draw shapes: (N, H, W, 3) uint8, with soft edges."""
    names = ("shape", "hue", "size", "x", "y", "angle")
    parts = [torch.split(getattr(factors, name), _BLOCK) for name in names]
    blocks = [
        _render(Factors(**dict(zip(names, block, strict=True))), size)
        for block in zip(*parts, strict=True)
    ]
    return torch.cat(blocks) if blocks else torch.zeros(0, *size, 3, dtype=torch.uint8)


def _render(factors: Factors, size: tuple[int, int]) -> Tensor:
    H, W = (side * _SUBPIXELS for side in size)
    half = min(H, W) / 2
    down = ((torch.arange(H, dtype=torch.float64) + 0.5) - H / 2) / half
    right = ((torch.arange(W, dtype=torch.float64) + 0.5) - W / 2) / half
    dy = down[:, None] - factors.y[:, None, None]  # (B, H, 1)
    dx = right[None, :] - factors.x[:, None, None]  # (B, 1, W)
    cos, sin = (turn(factors.angle)[:, None, None] for turn in (torch.cos, torch.sin))
    radius = factors.size[:, None, None]
    u, v = (cos * dx + sin * dy) / radius, (cos * dy - sin * dx) / radius  # (B, H, W)
    inside = torch.stack(
        [
            torch.maximum(u.abs(), v.abs()) < 0.75,
            u.square() + (v / 0.6).square() < 1,
            (v < 0.5) & (math.sqrt(3) * u.abs() - v < 1),
            (torch.minimum(u.abs(), v.abs()) < 0.25) & (torch.maximum(u.abs(), v.abs()) < 0.9),
        ]
    )  # (4, B, H, W)
    mask = inside[factors.shape, torch.arange(len(factors.shape))].double()
    cover = torch.nn.functional.avg_pool2d(mask[:, None], _SUBPIXELS)[:, 0, ..., None]
    colour = rgb_of(factors.hue)[:, None, None, :]
    pixels = BACKGROUND + cover * (colour - BACKGROUND)
    return (pixels * 255).round().to(torch.uint8)


def rgb_of(hue: Tensor) -> Tensor:
    """Turn hues (N,) into full colours (N, 3), as HSV does: 0 is red, 1/3 green, 2/3 blue."""
    steps = torch.tensor([5.0, 3.0, 1.0], dtype=hue.dtype)
    k = (steps + 6 * hue[:, None]) % 6
    return 1 - torch.minimum(k, 4 - k).clamp(0, 1)
