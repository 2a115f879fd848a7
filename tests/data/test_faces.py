from __future__ import annotations

from collections import Counter

import torch

from dlcli.data.glyphs import FACES, SEGMENTS, face_table


def test_every_digit_has_at_least_three_faces() -> None:
    assert sorted(Counter(digit for digit, _ in FACES)) == list(range(10))
    assert min(Counter(digit for digit, _ in FACES).values()) >= 3


def test_sizes_agree() -> None:
    table = face_table()
    F, C, _ = table.controls.shape
    assert len(FACES) == F
    assert table.starts.shape == table.ends.shape == (F, SEGMENTS, C)
    assert table.strokes.shape == (F, SEGMENTS)


def test_weights_sum_to_one_so_that_moving_all_points_moves_the_stroke() -> None:
    table = face_table()
    for weights in (table.starts, table.ends):
        torch.testing.assert_close(weights.sum(2), torch.ones(weights.shape[:2]))


def test_segments_of_a_stroke_are_joined_and_strokes_are_not() -> None:
    table = face_table()
    starts, ends = table.starts @ table.controls, table.ends @ table.controls
    joined = (starts[:, 1:] - ends[:, :-1]).norm(dim=2) < 1e-6
    same = table.strokes[:, 1:] == table.strokes[:, :-1]
    assert joined[same].all()
    lifted = [i for i, (_, text) in enumerate(FACES) if "/" in text]
    assert (~same).any(1).nonzero().squeeze(1).tolist() == lifted


def test_a_stroke_passes_through_its_points() -> None:
    table = face_table()
    starts, ends = table.starts @ table.controls, table.ends @ table.controls
    for face, (_, text) in enumerate(FACES):
        count = len(text.replace("/", " ").split())
        knots = torch.cat([starts[face], ends[face]])
        points = table.controls[face, :count]
        assert (points[:, None] - knots).norm(dim=2).amin(1).max() < 1e-5


def test_a_smooth_point_has_no_corner_and_a_corner_has() -> None:
    table = face_table()
    along = (table.ends - table.starts) @ table.controls
    turn = torch.cosine_similarity(along[:, 1:], along[:, :-1], dim=2)
    smooth = next(i for i, (_, text) in enumerate(FACES) if "!" not in text)
    corner = next(i for i, (digit, text) in enumerate(FACES) if digit == 7 and "5!" in text)
    assert turn[smooth].min() > 0.3
    assert turn[corner].min() < 0.3
