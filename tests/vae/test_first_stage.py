"""The first stage without large maps against the layers that it stands for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae.fast import first_stage, patches

B, C = 5, 3


def _layers(dtype: torch.dtype = torch.float64) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv = nn.Conv2d(1, C, 3, padding=1, bias=False).to(dtype)
    norm = nn.BatchNorm2d(C).to(dtype)
    nn.init.uniform_(norm.weight, -1, 1)  # a negative scale turns the largest into the smallest
    nn.init.normal_(norm.bias)
    return conv, norm


def _usual(images: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    return F.max_pool2d(F.relu(norm(conv(images[:, None]))), 2)


def _images(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(B, 28, 28, dtype=dtype)


def _measure(way: object, images: Tensor, layers: tuple[nn.Conv2d, nn.BatchNorm2d]) -> list[Tensor]:
    conv, norm = layers
    norm.reset_running_stats()
    assert callable(way)
    out = way(images, conv, norm)
    weights = (conv.weight, norm.weight, norm.bias)
    pull = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    grads = torch.autograd.grad((out * pull).sum(), weights)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return [out.detach(), *grads, norm.running_mean.clone(), norm.running_var.clone()]


def test_values_gradients_and_running_statistics_are_the_usual_ones() -> None:
    layers, images = _layers(), _images()
    ours, usual = (_measure(way, images, layers) for way in (first_stage, _usual))
    for mine, theirs in zip(ours, usual, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert layers[1].num_batches_tracked is not None
    assert int(layers[1].num_batches_tracked) == 1


def test_equal_values_share_no_gradient_twice() -> None:
    layers = _layers()
    images = torch.zeros(B, 28, 28, dtype=torch.float64)
    images[:, 4:9, 5:12] = 0.5  # patches of one colour, whose four places tie
    _, _, ours, _, _, _ = _measure(first_stage, images, layers)
    _, _, usual, _, _, _ = _measure(_usual, images, layers)
    torch.testing.assert_close(ours, usual)


def test_autocast_rounds_and_no_more() -> None:
    layers, images = _layers(torch.float32), _images(torch.float32)
    exact = _measure(first_stage, images, layers)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = first_stage(images, *layers)
    assert rounded.dtype == torch.bfloat16
    assert rounded.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(rounded.float(), exact[0], rtol=0.02, atol=0.05)


def test_patches_are_what_a_pooled_pixel_sees() -> None:
    images = _images()
    found = patches(images).view(B, 14, 14, 4, 4)
    padded = F.pad(images, (1, 1, 1, 1))
    assert torch.equal(found[2, 3, 13], padded[2, 6:10, 26:30])


def test_without_running_statistics_it_refuses() -> None:
    conv, _ = _layers()
    with pytest.raises(ValueError, match="running statistics"):
        first_stage(_images(), conv, nn.BatchNorm2d(C, track_running_stats=False).double())
