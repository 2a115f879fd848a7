"""Which images are evaluated: nested, fair, and black and white by their own place."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.errors import DataError, UsageFault
from dlcli.vae import trained as room
from dlcli.vae.trained import Trained, binarized, chosen_images, seen_pixels, with_true_data


def test_fewer_images_are_the_first_of_more(trained: Trained) -> None:
    rows, every = chosen_images(trained, count=None, notice=print)
    _, some = chosen_images(trained, count=6, notice=print)
    assert rows.shape == (20, 784)
    assert sorted(every.tolist()) == list(range(20))
    assert torch.equal(some, every[:6])
    assert torch.equal(binarized(rows, some, seed=1), binarized(rows, every, seed=1)[:6])


def test_more_than_there_are_is_refused(trained: Trained) -> None:
    with pytest.raises(UsageFault, match="20 test images, not 21"):
        chosen_images(trained, count=21, notice=print)


def test_pixels_are_those_of_the_training() -> None:
    rows = torch.randint(0, 256, (9, 784), generator=generator(0, "x")).to(torch.uint8)
    numbers = torch.tensor([3, 1])
    grey = seen_pixels(rows, numbers, way="none", seed=0)
    assert torch.equal(grey, rows[[3, 1]].float() / 255)
    black = seen_pixels(rows, numbers, way="dynamic", seed=0)
    assert set(black.unique().tolist()) == {0, 1}
    assert torch.equal(black, binarized(rows, numbers, seed=0))
    assert not torch.equal(black, binarized(rows, numbers, seed=1))
    assert abs(float((black - grey).mean())) < 0.05


def test_the_data_set_is_the_runs_own(trained: Trained) -> None:
    data = dataclasses.replace(trained.config.data, name="glyphs:50")
    config = dataclasses.replace(trained.config, data=data)
    rows, _ = chosen_images(dataclasses.replace(trained, config=config), count=None, notice=print)
    assert len(rows) == 10


def test_auto_becomes_the_name_it_was_trained_on_or_is_refused(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataclasses.replace(trained.config.data, name="auto")
    auto = dataclasses.replace(trained, config=dataclasses.replace(trained.config, data=data))
    found = "glyphs:100"
    monkeypatch.setattr(room, "load_images", lambda *_, **__: SimpleNamespace(name=found))
    assert with_true_data(auto, notice=print).config.data.name == "glyphs:100"
    assert with_true_data(trained, notice=print) is trained
    found = "mnist"
    with pytest.raises(DataError, match="trained on glyphs:100"):
        with_true_data(auto, notice=print)
