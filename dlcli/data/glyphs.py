"""The embedded data set `glyphs`: digits drawn by the package, in MNIST's form.

A digit is a face (`dlcli.data.faces`) with its control points moved a little, bent by a smooth
field, slanted, turned and stretched, then drawn with a round pen: a pixel's ink depends on its
distance to the nearest pen segment, which gives soft edges. As in MNIST the digit fills a box of
20×20 that is placed in 28×28 with its centre of mass in the middle.

`B` digits of a block, `C` control points, `S` segments, `W` waves of the bending field.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.data.faces import FaceTable, face_table

SIDE = 28
BOX = 20
_BLOCK = 128  # digits drawn at once: at 256 the (B, S, 20, 20) distances take twice as long
_WAVES = 3


@dataclass(frozen=True, kw_only=True)
class Hand:
    """How much one writer's digits differ from one another; deviations unless said otherwise.

    Lengths are in heights of a digit, angles in radians, the pen in pixels of the 20×20 box.
    The defaults were set beside MNIST's mean, deviation and share of inked pixels.
    """

    point: float = 0.02
    stroke: float = 0.02
    bend: float = 0.042
    slant_mean: float = 0.16
    slant: float = 0.24
    turn: float = 0.08
    stretch: float = 0.2
    pen: float = 2.45
    pen_log: float = 0.26
    pressure: float = 0.1
    edge: float = 1.3
    shift: float = 0.35
    noise: float = 0.012


def draw_glyphs(
    count: int, *, generator: torch.Generator, hand: Hand | None = None
) -> tuple[Tensor, Tensor]:
    """Draw digits: images (N, 28, 28) uint8 and labels (N,) int64, all ten equally likely.

    The same generator state gives the same digits, and the first n of a longer draw are the same.

    Args:
        count: how many.
        generator: source of all randomness, on the CPU.
        hand: the writer, or the default one.
    """
    table = face_table()
    images = torch.zeros(count, SIDE, SIDE, dtype=torch.uint8)
    labels = torch.zeros(count, dtype=torch.int64)
    with _one_thread():
        for first in range(0, count, _BLOCK):
            block = slice(first, min(first + _BLOCK, count))
            wanted = block.stop - first
            pixels, digits = _draw_block(table, hand=hand or Hand(), generator=generator)
            images[block], labels[block] = pixels[:wanted], digits[:wanted]
    return images, labels


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: blocks are sized for one core, and several wait for each other.

    On a machine that is busy otherwise, two threads took 20 times as long as one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _draw_block(
    table: FaceTable, *, hand: Hand, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    digits = torch.randint(10, (_BLOCK,), generator=generator)
    faces = _choose_faces(table, digits=digits, generator=generator)
    starts, ends = _write(table, faces=faces, hand=hand, generator=generator)  # (B, S, 2)
    pen = hand.pen * torch.exp(hand.pen_log * _normal(_BLOCK, generator=generator))
    starts, ends = _fit(starts, ends, pen=pen)
    ink = _ink(starts, ends, pen=pen, hand=hand, generator=generator)  # (B, 20, 20)
    offset = hand.shift * _normal(_BLOCK, 2, generator=generator)
    return _place(ink, offset=offset), digits


def _normal(*size: int, generator: torch.Generator) -> Tensor:
    """Draw normal numbers, cut at two deviations: handwriting varies, but stays legible."""
    return torch.randn(*size, generator=generator).clamp_(-2.0, 2.0)


def _choose_faces(table: FaceTable, *, digits: Tensor, generator: torch.Generator) -> Tensor:
    """Choose one of each digit's faces, equally likely: (B,) int64."""
    fits = (table.digits == digits[:, None]).double()  # (B, F)
    return torch.multinomial(fits, 1, generator=generator).squeeze(1)


def _write(
    table: FaceTable, *, faces: Tensor, hand: Hand, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the ends of the pen segments, (B, S, 2) each, before they are fitted to the box."""
    controls = table.controls[faces]  # (B, C, 2)
    controls = controls + hand.point * _normal(*controls.shape, generator=generator)
    strokes = table.strokes[faces]  # (B, S)
    most = int(table.strokes.max()) + 1
    lifts = hand.stroke * _normal(len(faces), most, 2, generator=generator)
    lift = lifts.gather(1, strokes[..., None].expand(-1, -1, 2))  # (B, S, 2)
    ends = torch.stack([table.starts[faces] @ controls, table.ends[faces] @ controls])
    ends = ends + lift  # (2, B, S, 2)
    ends = _bend(ends, hand=hand, generator=generator)
    ends = torch.einsum("ebsi,bij->ebsj", ends, _shape(hand, generator=generator))
    return ends[0], ends[1]


def _bend(points: Tensor, *, hand: Hand, generator: torch.Generator) -> Tensor:
    """Move points (2, B, S, 2) by a smooth random field, so that near strokes move together."""
    count = points.shape[1]
    waves = 3.4 * _normal(count, 2, _WAVES, generator=generator)  # up to one wave a height
    phases = 2 * math.pi * torch.rand(count, 1, _WAVES, generator=generator)
    heights = hand.bend * _normal(count, _WAVES, 2, generator=generator)
    return points + torch.sin(points @ waves + phases) @ heights


def _shape(hand: Hand, *, generator: torch.Generator) -> Tensor:
    """Draw slant, turn and stretch of each digit as matrices (B, 2, 2) for row vectors."""
    slant = hand.slant_mean + hand.slant * _normal(_BLOCK, generator=generator)
    turn = hand.turn * _normal(_BLOCK, generator=generator)
    stretch = torch.exp(hand.stretch * _normal(_BLOCK, generator=generator))
    zero, one = torch.zeros(_BLOCK), torch.ones(_BLOCK)
    wide = torch.stack([stretch, zero, -slant, one], dim=1).view(-1, 2, 2)
    turned = torch.stack([turn.cos(), turn.sin(), -turn.sin(), turn.cos()], dim=1)
    return wide @ turned.view(-1, 2, 2)


def _fit(starts: Tensor, ends: Tensor, *, pen: Tensor) -> tuple[Tensor, Tensor]:
    """Scale to the 20×20 box, the pen's width included, and centre there; pixels from here on."""
    points = torch.cat([starts, ends], dim=1)
    low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)  # (B, 1, 2)
    room = (BOX - pen)[:, None, None]
    scale = room / (high - low).amax(2, keepdim=True)
    middle = (low + high) / 2
    return (starts - middle) * scale + BOX / 2, (ends - middle) * scale + BOX / 2


def _ink(
    starts: Tensor, ends: Tensor, *, pen: Tensor, hand: Hand, generator: torch.Generator
) -> Tensor:
    """Draw segments (B, S, 2) with a round pen: ink in [0, 1], (B, 20, 20)."""
    distance = _distance(starts, ends)
    centres = (torch.arange(BOX) + 0.5) / BOX
    wave = 5.0 * _normal(len(starts), 2, 1, 1, generator=generator)
    phase = 2 * math.pi * torch.rand(len(starts), 1, 1, generator=generator)
    pressure = torch.sin(wave[:, 0] * centres[:, None] + wave[:, 1] * centres + phase)
    radius = pen[:, None, None] / 2 * (1 + hand.pressure * pressure)
    ink = ((radius - distance) / hand.edge + 0.5).clamp_(0.0, 1.0)
    ink = ink * ink * (3 - 2 * ink)
    noise = hand.noise * _normal(*ink.shape, generator=generator).abs()
    return ink * (1 - noise)


def _distance(starts: Tensor, ends: Tensor) -> Tensor:
    """Return each pixel's distance to the nearest segment: (B, S, 2) twice → (B, 20, 20).

    A pixel p has, beside a segment from a in unit direction u of length l, the coordinates
    b = (p − a)·u along and c = (p − a)×u across: squared distance c² + (b − clamp(b, 0, l))².
    Both are sums of a part in x and one in y, so that no (B, S, 20, 20, 2) is ever made.
    """
    along = ends - starts
    length = along.norm(dim=2, keepdim=True)
    some = torch.tensor([1.0, 0.0])  # a segment of no length is a dot: any direction will do
    ux, uy = torch.where(length > 1e-6, along / length, some).unbind(2)  # (B, S)
    centres = torch.arange(BOX) + 0.5
    dx = centres - starts[..., :1]  # (B, S, 20)
    dy = centres - starts[..., 1:]
    b = (dy * uy[..., None])[..., :, None] + (dx * ux[..., None])[..., None, :]
    c = (dy * ux[..., None])[..., :, None] - (dx * uy[..., None])[..., None, :]
    beyond = b - b.clamp(min=0.0).minimum(length[..., None])
    squared: Tensor = c.square_().addcmul_(beyond, beyond)
    return squared.amin(1).sqrt_()


def _place(ink: Tensor, *, offset: Tensor) -> Tensor:
    """Put boxes (B, 20, 20) into (B, 28, 28) uint8, centre of mass in the middle plus an offset."""
    steps = torch.arange(BOX) + 0.5
    mass = ink.sum((1, 2))
    middle = torch.stack([ink.sum(1) @ steps / mass, ink.sum(2) @ steps / mass], dim=1)  # x, y
    corner = (SIDE / 2 - middle + offset).round().clamp_(1, SIDE - BOX - 1).long()  # (B, 2)
    rows = corner[:, 1, None] + torch.arange(BOX)  # (B, 20)
    columns = corner[:, 0, None] + torch.arange(BOX)
    images = torch.zeros(len(ink), SIDE, SIDE, dtype=torch.uint8)
    which = torch.arange(len(ink))[:, None, None]
    images[which, rows[:, :, None], columns[:, None, :]] = (ink * 255).round().to(torch.uint8)
    return images
