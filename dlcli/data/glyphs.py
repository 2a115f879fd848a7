"""The embedded data set `glyphs`: digits drawn by the package, in MNIST's form.

A digit is a face, one way of writing it, with its control points moved a little, bent by a smooth
field, slanted, turned and stretched, then drawn with a round pen: a pixel's ink depends on its
distance to the nearest pen segment, which gives soft edges. As in MNIST the digit fills a box of
20×20 that is placed in 28×28 with its centre of mass in the middle. At other sizes everything is
drawn in proportion to the shorter side.

`B` digits of a block, `C` control points, `S` segments, `W` waves of the bending field, `P` pixels
of a side of the box.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SIDE = 28
BOX = 20
_BLOCK = 128  # digits drawn at once: at 256 the (B, S, 20, 20) distances take twice as long
_WAVES = 3


@dataclass(frozen=True, kw_only=True)
class Hand:
    """How much one writer's digits differ from one another; deviations unless said otherwise.

    Lengths are in heights of a digit, angles in radians, the pen in pixels of a 20×20 box.
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
    count: int,
    *,
    generator: torch.Generator,
    hand: Hand | None = None,
    size: tuple[int, int] = (SIDE, SIDE),
) -> tuple[Tensor, Tensor]:
    """Draw digits: images (N, H, W) uint8 and labels (N,) int64, all ten equally likely.

    The same generator state gives the same digits, and the first n of a longer draw are the same.

    Args:
        count: how many.
        generator: source of all randomness, on the CPU.
        hand: the writer, or the default one.
        size: H and W, at least 8.
    """
    table = face_table()
    images = torch.zeros(count, *size, dtype=torch.uint8)
    labels = torch.zeros(count, dtype=torch.int64)
    with _one_thread():
        for first in range(0, count, _BLOCK):
            block = slice(first, min(first + _BLOCK, count))
            wanted = block.stop - first
            pixels, digits = _draw_block(table, hand=hand or Hand(), generator=generator, size=size)
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
    table: FaceTable, *, hand: Hand, generator: torch.Generator, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    box = round(BOX * min(size) / SIDE)
    scale = box / BOX
    digits = torch.randint(10, (_BLOCK,), generator=generator)
    faces = _choose_faces(table, digits=digits, generator=generator)
    starts, ends = _write(table, faces=faces, hand=hand, generator=generator)  # (B, S, 2)
    pen = hand.pen * torch.exp(hand.pen_log * _normal(_BLOCK, generator=generator)) * scale
    starts, ends = _fit(starts, ends, pen=pen, box=box)
    ink = _ink(starts, ends, pen=pen, hand=hand, generator=generator, box=box)  # (B, P, P)
    offset = hand.shift * _normal(_BLOCK, 2, generator=generator) * scale
    return _place(ink, offset=offset, size=size), digits


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


def _fit(starts: Tensor, ends: Tensor, *, pen: Tensor, box: int) -> tuple[Tensor, Tensor]:
    """Scale to the box, the pen's width included, and centre there; pixels from here on."""
    points = torch.cat([starts, ends], dim=1)
    low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)  # (B, 1, 2)
    room = (box - pen)[:, None, None]
    scale = room / (high - low).amax(2, keepdim=True)
    middle = (low + high) / 2
    return (starts - middle) * scale + box / 2, (ends - middle) * scale + box / 2


def _ink(
    starts: Tensor, ends: Tensor, *, pen: Tensor, hand: Hand, generator: torch.Generator, box: int
) -> Tensor:
    """Draw segments (B, S, 2) with a round pen: ink in [0, 1], (B, P, P)."""
    distance = _distance(starts, ends, box=box)
    centres = (torch.arange(box) + 0.5) / box
    wave = 5.0 * _normal(len(starts), 2, 1, 1, generator=generator)
    phase = 2 * math.pi * torch.rand(len(starts), 1, 1, generator=generator)
    pressure = torch.sin(wave[:, 0] * centres[:, None] + wave[:, 1] * centres + phase)
    radius = pen[:, None, None] / 2 * (1 + hand.pressure * pressure)
    ink = ((radius - distance) / hand.edge + 0.5).clamp_(0.0, 1.0)
    ink = ink * ink * (3 - 2 * ink)
    noise = hand.noise * _normal(*ink.shape, generator=generator).abs()
    return ink * (1 - noise)


def _distance(starts: Tensor, ends: Tensor, *, box: int) -> Tensor:
    """Return each pixel's distance to the nearest segment: (B, S, 2) twice → (B, P, P).

    A pixel p has, beside a segment from a in unit direction u of length l, the coordinates
    b = (p − a)·u along and c = (p − a)×u across: squared distance c² + (b − clamp(b, 0, l))².
    Both are sums of a part in x and one in y, so that no (B, S, P, P, 2) is ever made.
    """
    along = ends - starts
    length = along.norm(dim=2, keepdim=True)
    some = torch.tensor([1.0, 0.0])  # a segment of no length is a dot: any direction will do
    ux, uy = torch.where(length > 1e-6, along / length, some).unbind(2)  # (B, S)
    centres = torch.arange(box) + 0.5
    dx = centres - starts[..., :1]  # (B, S, P)
    dy = centres - starts[..., 1:]
    b = (dy * uy[..., None])[..., :, None] + (dx * ux[..., None])[..., None, :]
    c = (dy * ux[..., None])[..., :, None] - (dx * uy[..., None])[..., None, :]
    beyond = b - b.clamp(min=0.0).minimum(length[..., None])
    squared: Tensor = c.square_().addcmul_(beyond, beyond)
    return squared.amin(1).sqrt_()


def _place(ink: Tensor, *, offset: Tensor, size: tuple[int, int]) -> Tensor:
    """Put boxes (B, P, P) into (B, H, W) uint8, centre of mass in the middle plus an offset."""
    (H, W), box = size, ink.shape[1]
    steps = torch.arange(box) + 0.5
    mass = ink.sum((1, 2))
    middle = torch.stack([ink.sum(1) @ steps / mass, ink.sum(2) @ steps / mass], dim=1)  # x, y
    corner = torch.tensor([W / 2, H / 2]) - middle + offset
    most = torch.tensor([W - box - 1, H - box - 1])
    corner = corner.round().clamp_(min=1).minimum(most).long()  # (B, 2)
    rows = corner[:, 1, None] + torch.arange(box)  # (B, P)
    columns = corner[:, 0, None] + torch.arange(box)
    images = torch.zeros(len(ink), H, W, dtype=torch.uint8)
    which = torch.arange(len(ink))[:, None, None]
    images[which, rows[:, :, None], columns[:, None, :]] = (ink * 255).round().to(torch.uint8)
    return images


SEGMENTS = 32  # straight pieces a digit is drawn with, shared out among its spans by length

# A face is one way of writing one digit, noted as text: points `x,y` in percent of the digit's
# height (x to the right, y downwards), strokes separated by `/`, the pen lifted between them. A
# stroke runs smoothly through its points (Catmull-Rom splines); a point that ends in `!` is a
# corner.
FACES: tuple[tuple[int, str], ...] = (
    (0, "40,2 14,16 4,50 14,84 40,98 66,84 76,50 66,16 40,2 30,5"),
    (0, "52,8 26,9 7,40 6,74 26,97 50,90 68,56 66,24 49,4 34,8"),
    (0, "64,12 40,3 12,22 2,56 20,91 50,97 76,72 78,38 60,12 38,6"),
    (0, "28,4 12,24 9,56 16,88 32,97 47,82 52,50 46,18 30,3 22,8"),
    (1, "36,2 35,50 34,98"),
    (1, "38,2 36,34 37,66 35,98"),
    (1, "24,20! 39,3! 37,50 36,98!"),
    (1, "16,24! 38,4! 38,50 38,96! / 14,97! 38,96 63,96!"),
    (2, "8,26 20,7 42,2 60,16 57,38 38,64 7,96! 36,95 68,95"),
    (2, "10,22 30,3 54,10 57,34 40,64 18,90 6,92 8,80 24,80 44,93 68,92"),
    (2, "6,17 32,3 57,13 55,38 32,70 6,94! 34,89 66,97"),
    (2, "14,32 12,12 34,2 52,14 50,40 30,70 8,97! 30,93 62,95"),
    (3, "8,13 30,2 54,12 52,32 28,46! 54,55 62,76 40,97 6,88"),
    (3, "10,12 36,2 57,17 46,39 27,46 30,51 51,55 62,75 42,97 8,90"),
    (3, "8,5! 34,4 60,4! 46,22 30,40! 55,52 61,77 38,98 6,88"),
    (3, "14,9 40,2 55,17 42,36 24,44! 50,49 56,72 36,94 4,97"),
    (4, "20,4! 14,30 6,56! 34,55 66,53! / 52,10! 48,54 45,98!"),
    (4, "48,2! 26,34 4,65! 36,66 68,65! / 49,2! 50,50 50,98!"),
    (4, "12,6 9,34 18,50 40,50 56,42 / 58,3! 54,50 48,98!"),
    (4, "30,3! 18,34 8,58 24,62 66,58! / 44,38! 42,70 40,98!"),
    (5, "17,4! 14,24 11,44! 36,37 59,52 58,82 34,97 6,88 / 17,4! 40,4 62,2!"),
    (5, "62,5 36,6 20,12 15,36 24,43 50,48 60,68 48,92 24,97 5,90"),
    (5, "58,4! 38,5 19,5! 16,24 12,45! 38,42 58,60 52,88 28,98 6,90"),
    (5, "22,8! 18,28 14,47! 34,42 50,58 46,84 26,97 4,91 / 22,8! 46,8 70,3!"),
    (6, "50,2 24,22 9,56 12,87 33,98 54,87 52,64 33,55 12,70"),
    (6, "56,7 31,10 11,43 8,75 27,98 51,93 60,74 45,57 21,62 9,78"),
    (6, "37,2 20,36 8,74 22,97 44,93 50,73 34,63 12,76"),
    (6, "30,2 14,30 7,66 18,94 42,97 60,82 54,64 34,60 10,82"),
    (7, "6,7! 34,7 62,5! 42,48 29,98!"),
    (7, "6,7! 34,6 62,6! 42,50 30,98! / 17,53! 36,51 57,49!"),
    (7, "9,21! 10,7! 36,6 63,5! 40,48 33,98!"),
    (7, "4,16 18,5 40,9 61,7! 50,34 36,64 30,98"),
    (8, "54,14 35,2 14,14 20,36 46,54 58,78 35,98 11,82 20,58 46,40 55,16 46,6"),
    (8, "34,47 14,33 15,11 34,2 53,12 53,34 33,47 11,63 10,86 34,98 58,86 57,62 33,47 28,44"),
    (8, "58,9 32,3 17,19 29,41 45,63 40,91 20,96 10,79 27,55 50,31 59,8"),
    (8, "44,3 22,8 22,29 40,45 50,66 40,94 16,95 9,75 26,52 50,33 54,14 40,3"),
    (9, "58,20 38,2 10,13 7,40 30,52 52,38 59,13 55,56 48,98"),
    (9, "57,22 37,2 13,13 12,40 34,48 54,31 58,14 59,58 47,91 18,94"),
    (9, "54,11 28,3 6,23 15,50 38,46 55,22 / 56,9! 52,54 46,98!"),
    (9, "56,13 31,2 8,16 10,41 32,48 52,30 57,11 49,54 32,97"),
)


@dataclass(frozen=True, kw_only=True)
class FaceTable:
    """All faces as tensors: a segment's ends are linear in the face's control points.

    `F` faces, `C` control points (padded with zeros), `S` segments.

    Attributes:
        digits: (F,) int64, the digit a face stands for.
        controls: (F, C, 2) control points, y downwards, height 1.
        starts: (F, S, C) weights of the control points in each segment's start.
        ends: (F, S, C) the same for its end.
        strokes: (F, S) int64, which stroke a segment belongs to.
    """

    digits: Tensor
    controls: Tensor
    starts: Tensor
    ends: Tensor
    strokes: Tensor


@dataclass(frozen=True)
class _Point:
    x: float
    y: float
    corner: bool


@functools.cache
def face_table() -> FaceTable:
    """Compile `FACES` into tensors (once a process)."""
    faces = [[_stroke(part) for part in text.split("/")] for _, text in FACES]
    width = max(sum(map(len, strokes)) for strokes in faces)
    compiled = [_compile_face(strokes, width=width) for strokes in faces]
    return FaceTable(
        digits=torch.tensor([digit for digit, _ in FACES]),
        controls=torch.stack([controls for controls, _, _ in compiled]),
        starts=torch.stack([weights[:, 0] for _, weights, _ in compiled]),
        ends=torch.stack([weights[:, 1] for _, weights, _ in compiled]),
        strokes=torch.stack([strokes for _, _, strokes in compiled]),
    )


def _stroke(text: str) -> list[_Point]:
    points = []
    for word in text.split():
        x, y = word.rstrip("!").split(",")
        points.append(_Point(float(x) / 100, float(y) / 100, word.endswith("!")))
    return points


def _compile_face(strokes: list[list[_Point]], *, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return controls (C, 2), segment weights (S, 2, C) and stroke numbers (S,) of one face."""
    controls = torch.zeros(width, 2)
    spans: list[tuple[list[_Point], int, int, int]] = []  # points, index, offset, stroke
    offset = 0
    for number, points in enumerate(strokes):
        for index, point in enumerate(points):
            controls[offset + index] = torch.tensor([point.x, point.y])
        spans += [(points, index, offset, number) for index in range(len(points) - 1)]
        offset += len(points)
    lengths = [_length(points[index], points[index + 1]) for points, index, _, _ in spans]
    weights, owners = [], []
    for (points, index, first, number), pieces in zip(spans, _share(lengths), strict=True):
        knots = [_hermite(points, index, j / pieces, first, width) for j in range(pieces + 1)]
        weights += [torch.stack(pair) for pair in itertools.pairwise(knots)]
        owners += [number] * pieces
    return controls, torch.stack(weights), torch.tensor(owners)


def _length(a: _Point, b: _Point) -> float:
    return math.hypot(b.x - a.x, b.y - a.y)


def _share(lengths: list[float]) -> list[int]:
    """Share `SEGMENTS` pieces out among spans by length, one at least each."""
    pieces = [1] * len(lengths)
    while sum(pieces) < SEGMENTS:
        longest = max(range(len(lengths)), key=lambda i: lengths[i] / pieces[i])
        pieces[longest] += 1
    return pieces


def _hermite(points: list[_Point], index: int, t: float, first: int, width: int) -> Tensor:
    """Return the weights (C,) of the control points at `t` in [0, 1] between two points."""
    weights = torch.zeros(width)
    weights[first + index] += (1 + 2 * t) * (1 - t) ** 2
    weights[first + index + 1] += t * t * (3 - 2 * t)
    for end, blend in ((index, t * (1 - t) ** 2), (index + 1, t * t * (t - 1))):
        before, after, share = end - 1, end + 1, 0.5
        if before < 0 or after == len(points) or points[end].corner:  # one-sided tangent
            before, after, share = index, index + 1, 1.0
        weights[first + after] += share * blend
        weights[first + before] -= share * blend
    return weights
