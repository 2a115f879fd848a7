"""Readings of a judge made into numbers."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from dlcli.data.images import ImageData, load_images
from dlcli.engine.seed import generator
from dlcli.errors import RunFailed, UsageFault
from dlcli.vae import judge as judge_module
from dlcli.vae.judge import (
    Judge,
    find_judge,
    judge_file,
    stream_ambiguity,
    summarize_reading,
    train_judge,
)
from dlcli.vae.trained import Trained


def test_known_probabilities_give_known_numbers() -> None:
    sure = torch.zeros(10)
    sure[3] = 1
    halves = torch.zeros(10)
    halves[[4, 5]] = torch.tensor([0.6, 0.4])
    probs = torch.stack([sure, sure, halves, torch.full((10,), 0.1)])
    ink = torch.tensor([0.0, 50.0, 50.0, 50.0])
    found = summarize_reading(probs.log(), ink=ink, least_ink=10.0)
    expected = (-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)) + math.log(10)) / 4
    assert found.entropy == pytest.approx(expected, rel=1e-6)
    assert found.ambiguous == 0.5
    assert found.ambiguous_std_error == 0.25
    assert found.nearly_empty == 0.25
    assert found.class_shares == (0.25, 0, 0, 0.5, 0.25, 0, 0, 0, 0, 0)
    assert found.balance == pytest.approx(1.5 * math.log(2) / math.log(10))


def test_batches_add_up_to_what_was_asked_for(trained: Trained) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)).eval()
    judge = Judge(network=network, data="glyphs:100", accuracy=0.5, least_ink=0.0, shape=(28, 28))
    real = torch.full((7, 784), 255, dtype=torch.uint8)
    found = list(stream_ambiguity(trained.model, judge, real=real, count=1003, seed=0))
    assert [part.generated.images for part in found] == [1000, 1003]
    last = found[-1].generated
    assert sum(last.class_shares) == pytest.approx(1)
    assert last.nearly_empty == 0
    assert found[-1].judge_accuracy == 0.5
    assert found[0].real == found[-1].real
    assert found[0].real.images == 7
    white = judge.read(torch.ones(1, 784)).exp()
    assert found[0].real.class_shares[int(white.argmax())] == 1
    assert found[0].real.ambiguous == float(white.max() < 0.9)


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
    monkeypatch.setattr(judge_module, "BATCH", 20)
    monkeypatch.setattr(judge_module, "SHIFT", 0)
    monkeypatch.setattr(judge_module, "UPDATES_OF_SMALL_SETS", 60)
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
    monkeypatch.setattr(judge_module, "UPDATES_OF_SMALL_SETS", 1)
    monkeypatch.setattr(judge_module, "EPOCHS", 1)
    said: list[str] = []
    first = find_judge(load_images("glyphs:30"), notice=said.append)
    assert judge_file("glyphs:30", shape=(28, 28)).is_file()
    second = find_judge(load_images("glyphs:30"), notice=said.append)
    assert len([line for line in said if "Training a judge" in line]) == 1
    x = torch.rand(3, 784, generator=generator(0, "x"))
    assert torch.equal(first.read(x), second.read(x))
    assert (first.accuracy, first.least_ink) == (second.accuracy, second.least_ink)
    judge_file("glyphs:30", shape=(28, 28)).write_bytes(b"cut")
    find_judge(load_images("glyphs:30"), notice=said.append)
    assert len([line for line in said if "Training a judge" in line]) == 2


def test_one_digit_is_too_few() -> None:
    data = easy()
    one = dataclasses.replace(data, train=data.train[:1], train_labels=data.train_labels[:1])
    with pytest.raises(RunFailed, match="too few"):
        train_judge(one)


def test_has_as_many_classes_as_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "UPDATES_OF_SMALL_SETS", 1)
    data = easy()
    assert data.train_labels is not None
    assert data.test_labels is not None
    three = dataclasses.replace(
        data, train_labels=data.train_labels % 3, test_labels=data.test_labels % 3
    )
    judge = train_judge(three, epochs=1)
    assert judge.read(torch.rand(2, 784)).shape == (2, 3)
    even = summarize_reading(torch.eye(3).log(), ink=torch.ones(3), least_ink=0.0)
    assert even.balance == pytest.approx(1)


def test_one_class_is_nothing_to_tell_apart() -> None:
    data = easy()
    one = dataclasses.replace(data, train_labels=torch.zeros(60, dtype=torch.int64))
    with pytest.raises(UsageFault, match="only one class"):
        find_judge(one, notice=pytest.fail)
