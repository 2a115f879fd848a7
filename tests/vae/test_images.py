"""Pixels: scaling, and draws whose means are the grey values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dlcli.data.images import load_images
from dlcli.engine.seed import generator
from dlcli.errors import ConfigError
from dlcli.vae.config import VaeDataConfig
from dlcli.vae.images import (
    Splits,
    fixed_draw,
    flat,
    grey,
    load_splits,
    load_test_images,
    model_input,
)


def ramp(copies: int) -> torch.Tensor:
    """Rows (copies, 784) whose pixels run through all bytes."""
    return (torch.arange(784) % 256).to(torch.uint8).expand(copies, 784)


def test_grey_is_the_byte_over_255_exactly() -> None:
    assert torch.equal(grey(ramp(1)), ramp(1).float() / 255)
    assert grey(ramp(1)).max() == 1.0


def test_a_dynamic_draw_is_black_or_white_with_the_grey_value_as_its_mean() -> None:
    rows = ramp(4000)
    drawn = model_input(rows, way="dynamic", generator=generator(1, "draw"))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    truth = grey(rows[0])
    error = (drawn.mean(0) - truth).abs() / (truth * (1 - truth) / 4000).sqrt().clamp(min=1e-9)
    inside = (truth > 0) & (truth < 1)
    assert error[inside].max() < 4.5
    assert 0.9 < (error[inside] ** 2).mean() < 1.1


def test_draws_are_anew_each_time_and_the_same_by_seed() -> None:
    stream = generator(3)
    first = model_input(ramp(3), way="dynamic", generator=stream)
    second = model_input(ramp(3), way="dynamic", generator=stream)
    assert not torch.equal(first, second)
    assert torch.equal(first, model_input(ramp(3), way="dynamic", generator=generator(3)))


def test_the_fixed_draw_never_changes() -> None:
    images = ramp(1003).reshape(1003, 28, 28)
    train, test = (fixed_draw(images, split=split) for split in ("train", "test"))
    assert torch.equal(train, fixed_draw(images, split="train"))
    assert not torch.equal(train, test)
    assert set(train.unique().tolist()) == {0, 255}
    assert int((train > 0).sum()) == 385_700  # published: changing the draw changes every result


def test_the_fixed_draw_of_an_image_does_not_depend_on_those_after_it() -> None:
    images = ramp(1500)
    assert torch.equal(
        fixed_draw(images, split="train")[:7], fixed_draw(images[:1007], split="train")[:7]
    )


def test_wrong_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        flat(torch.zeros(2, 28, 28))
    with pytest.raises(ValueError, match="generator"):
        model_input(ramp(1), way="dynamic")


def split(**given: Any) -> Splits:
    return load_splits(VaeDataConfig(name="glyphs:20", **given), notice=print)


def test_all_images_are_trained_on_by_default() -> None:
    found, whole = split(), load_images("glyphs:20")
    assert torch.equal(found.train, whole.train)
    assert torch.equal(found.test, whole.test)
    assert len(found.validation) == 0
    assert found.name == whole.name


def test_validation_is_the_end_of_the_training_set_and_training_its_beginning() -> None:
    found, whole = split(validation=5, train_images=7), load_images("glyphs:20").train
    assert torch.equal(found.train, whole[:7])
    assert torch.equal(found.validation, whole[-5:])


def test_a_fixed_draw_does_not_depend_on_the_cut() -> None:
    found, whole = split(validation=5, train_images=7, binarize="fixed"), load_images("glyphs:20")
    drawn = fixed_draw(whole.train, split="train")
    assert torch.equal(found.train, drawn[:7])
    assert torch.equal(found.validation, drawn[-5:])
    assert torch.equal(found.test, fixed_draw(whole.test, split="test"))


@pytest.mark.parametrize(
    ("given", "flag"),
    [({"validation": 20}, "--validation 20"), ({"train_images": 21}, "--train-images 21")],
)
def test_more_images_than_there_are_are_refused(given: dict[str, int], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        split(**given)


@pytest.mark.parametrize("binarize", ["none", "fixed"])
def test_the_test_images_can_be_had_alone(binarize: Any) -> None:
    config = VaeDataConfig(name="glyphs:20", binarize=binarize)
    assert torch.equal(load_test_images(config, notice=print), split(binarize=binarize).test)
