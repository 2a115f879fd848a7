"""The judge: learns digits, is kept, and is trained again where what was kept is no judge."""

from __future__ import annotations

import pytest
import torch

from dlcli.data.images import ImageData
from dlcli.engine.seed import generator
from dlcli.errors import RunFailed
from dlcli.vae import judge as room
from dlcli.vae.judge import find_judge, judge_file, train_judge


def bars(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ten easy classes: a bar at one of ten heights, with noise."""
    labels = torch.arange(count) % 10
    images = torch.randint(0, 60, (count, 28, 28), generator=generator(count, "bars"))
    for image, label in zip(images, labels.tolist(), strict=True):
        image[2 * label + 4, 4:24] = 255
        image[2 * label + 4, 4 : 6 + label] = 0
    return images.to(torch.uint8), labels


def easy() -> ImageData:
    (train, train_labels), (test, test_labels) = bars(60), bars(30)
    return ImageData(
        name="bars", train=train, train_labels=train_labels, test=test, test_labels=test_labels
    )


def test_learns_and_leaves_the_global_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BATCH", 20)
    monkeypatch.setattr(room, "SHIFT", 0)
    monkeypatch.setattr(room, "UPDATES_OF_SMALL_SETS", 60)
    before = torch.get_rng_state()
    data = easy()
    judge = train_judge(data, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert judge.accuracy > 0.9
    ink = data.train.flatten(1).double().sum(1) / 255
    assert ink.min() <= judge.least_ink < ink.median()
    log_probs = judge.read(data.test.flatten(1).float() / 255)
    assert torch.allclose(log_probs.exp().sum(1), torch.ones(30), atol=1e-5)


def test_is_trained_once_and_then_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "UPDATES_OF_SMALL_SETS", 1)
    monkeypatch.setattr(room, "EPOCHS", 1)
    said: list[str] = []
    first = find_judge("glyphs:30", notice=said.append)
    assert judge_file("glyphs:30").is_file()
    second = find_judge("glyphs:30", notice=said.append)
    assert len([line for line in said if "Training a judge" in line]) == 1
    x = torch.rand(3, 784, generator=generator(0, "x"))
    assert torch.equal(first.read(x), second.read(x))
    assert (first.accuracy, first.least_ink) == (second.accuracy, second.least_ink)
    judge_file("glyphs:30").write_bytes(b"cut")
    find_judge("glyphs:30", notice=said.append)
    assert len([line for line in said if "Training a judge" in line]) == 2


def test_data_sets_have_judges_of_their_own() -> None:
    assert judge_file("mnist") != judge_file("glyphs")


def test_one_digit_is_too_few() -> None:
    data = easy()
    one = ImageData(
        name="one",
        train=data.train[:1],
        train_labels=data.train_labels[:1],
        test=data.test,
        test_labels=data.test_labels,
    )
    with pytest.raises(RunFailed, match="too few"):
        train_judge(one)
