"""The faces of `glyphs`: how a hand writes each digit, as pen strokes.

A face is one way of writing one digit, noted as text: points `x,y` in percent of the digit's
height (x to the right, y downwards), strokes separated by `/`, the pen lifted between them. A
stroke runs smoothly through its points (Catmull-Rom splines); a point that ends in `!` is a corner.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

SEGMENTS = 32  # straight pieces a digit is drawn with, shared out among its spans by length

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
