"""The digits that the package draws: their faces, and what a hand makes of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from dlcli.data.glyphs import BOX, FACES, SIDE, Hand, draw_glyphs, face_table
from dlcli.data.images import load_images


def _draw(count: int, *, seed: int = 0, hand: Hand | None = None):
    return draw_glyphs(count, generator=torch.Generator().manual_seed(seed), hand=hand)


def test_every_digit_has_at_least_three_faces() -> None:
    faces = Counter(digit for digit, _ in FACES)
    assert sorted(faces) == list(range(10))
    assert min(faces.values()) >= 3


def test_a_stroke_is_one_line_through_its_points_and_strokes_are_apart() -> None:
    table = face_table()
    starts, ends = table.starts @ table.controls, table.ends @ table.controls
    joined = (starts[:, 1:] - ends[:, :-1]).norm(dim=2) < 1e-6
    same = table.strokes[:, 1:] == table.strokes[:, :-1]
    assert joined[same].all()
    lifted = [i for i, (_, text) in enumerate(FACES) if "/" in text]
    assert (~same).any(1).nonzero().squeeze(1).tolist() == lifted
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


@pytest.mark.parametrize("count", [0, 300])
def test_shapes_types_and_range(count: int) -> None:
    images, labels = _draw(count)
    assert (images.shape, images.dtype) == ((count, SIDE, SIDE), torch.uint8)
    assert (labels.shape, labels.dtype) == ((count,), torch.int64)
    assert set(labels.tolist()) == set(range(10) if count else ())


def test_same_seed_same_bytes_whatever_the_threads_and_how_many_are_drawn() -> None:
    threads = torch.get_num_threads()
    images, labels = _draw(300, seed=3)
    torch.set_num_threads(2)
    try:
        again, labels_again = _draw(300, seed=3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(images, again)
    assert torch.equal(labels, labels_again)
    assert torch.equal(images[:10], _draw(10, seed=3)[0])
    assert not torch.equal(images, _draw(300, seed=4)[0])


def test_every_digit_is_another_drawn_whole_and_in_the_middle() -> None:
    images, _ = _draw(500)
    assert len(torch.unique(images.flatten(1), dim=0)) == 500
    ink = images.double()
    border = torch.cat([ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1]], dim=1)
    assert border.sum(1).count_nonzero() == 0
    steps = torch.arange(SIDE) + 0.5
    mass = ink.sum((1, 2))
    assert mass.min() > 2_000
    middle = torch.stack([(ink.sum(axis) @ steps.double()) / mass for axis in (1, 2)])
    assert (middle - SIDE / 2).abs().mean() < 0.6
    rows = (ink.sum(2) > 0).sum(1)
    columns = (ink.sum(1) > 0).sum(1)
    assert torch.maximum(rows, columns).min() >= BOX - 2
    assert torch.maximum(rows, columns).max() <= BOX


def test_looks_like_mnist_in_mean_deviation_and_ink() -> None:
    pixels = _draw(2_000)[0].double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=0.008)  # MNIST's own figures
    assert pixels.std().item() == pytest.approx(0.3081, abs=0.012)
    assert (pixels > 0).double().mean().item() == pytest.approx(0.1912, abs=0.012)


def test_a_steady_hand_writes_the_same_digit_again() -> None:
    kept = {"slant_mean", "pen", "edge"}
    steady = Hand(**{field.name: 0.0 for field in fields(Hand) if field.name not in kept})
    images, _ = _draw(400, hand=steady)
    assert len(torch.unique(images.flatten(1), dim=0)) == len(FACES)


def test_digits_are_legible_to_a_nearest_mean_classifier_of_real_digits(
    real_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DL_DATA_DIR", str(real_data_dir))
    real = load_images("mnist", offline=True)
    means = torch.stack(
        [real.train[real.train_labels == digit].float().mean(0).flatten() for digit in range(10)]
    )

    def accuracy(images: torch.Tensor, labels: torch.Tensor) -> float:
        nearest = torch.cdist(images.flatten(1).float(), means).argmin(1)
        return (nearest == labels).double().mean().item()

    assert accuracy(real.test[:2_000], real.test_labels[:2_000]) > 0.75
    assert accuracy(*_draw(2_000)) > 0.6
