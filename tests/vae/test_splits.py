"""Which images are trained on, validated on and tested on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dlcli.data.images import load_images
from dlcli.errors import ConfigError
from dlcli.vae.config import VaeDataConfig
from dlcli.vae.images import Splits, fixed_draw, load_splits, load_test_images


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
