"""The first stage without large maps against the layers that it stands for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae.fast import ProductConv2d, ProductTranspose2d, first_stage, patches, weight_gradient

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


# -- The quicker weight gradients against torch's own layers

PRODUCTS_B, PRODUCTS_C, OUT = 3, 5, 7


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 1, 1), (4, 1, 0), (4, 2, 1)])
def test_the_gradient_is_autograds(kernel: int, stride: int, pad: int) -> None:
    large = torch.randn(PRODUCTS_B, PRODUCTS_C, 8, 6, dtype=torch.float64)
    weight = torch.randn(OUT, PRODUCTS_C, kernel, kernel, dtype=torch.float64, requires_grad=True)
    out = nn.functional.conv2d(large, weight, stride=stride, padding=pad)
    grad = torch.randn_like(out)
    (expected,) = torch.autograd.grad(out, weight, grad)
    ours = weight_gradient(grad, large, like=weight, stride=stride, pad=pad)
    torch.testing.assert_close(ours, expected)


def _products_layers(
    transposed: bool, *, kernel: int, stride: int, pad: int
) -> tuple[nn.Module, nn.Module]:
    kinds = (ProductTranspose2d, nn.ConvTranspose2d) if transposed else (ProductConv2d, nn.Conv2d)
    ours, torchs = (
        kind(PRODUCTS_C, OUT, kernel, stride=stride, padding=pad, bias=False) for kind in kinds
    )
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def _run(layer: nn.Module, x: Tensor, grad: Tensor | None = None) -> list[Tensor]:
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    out.backward(torch.ones_like(out) if grad is None else grad.to(out.dtype))
    weight = next(layer.parameters())
    assert x.grad is not None
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert weight.grad.stride() == weight.stride()
    return [out.detach(), x.grad, weight.grad]


@pytest.mark.parametrize(
    ("transposed", "kernel", "stride", "pad"),
    [(False, 3, 1, 1), (True, 4, 1, 0), (True, 4, 2, 1)],
)
def test_under_autocast_layers_are_torchs(
    transposed: bool, kernel: int, stride: int, pad: int
) -> None:
    ours, torchs = _products_layers(transposed, kernel=kernel, stride=stride, pad=pad)
    x = torch.randn(PRODUCTS_B, PRODUCTS_C, 6, 4).contiguous(memory_format=torch.channels_last)
    grad = torch.randn_like(torchs(x))
    for mine, theirs in zip(_run(ours, x, grad), _run(torchs, x, grad), strict=True):
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=0.02, atol=0.05)
    assert torch.equal(ours(x), torchs(x))  # in float32 they are the same layers


def test_a_bias_leaves_it_to_torch() -> None:
    layer = ProductConv2d(PRODUCTS_C, OUT, 3, padding=1)
    out, _, _ = _run(layer, torch.randn(PRODUCTS_B, PRODUCTS_C, 4, 4))
    assert out.shape == (PRODUCTS_B, OUT, 4, 4)
    assert layer.bias is not None
    assert layer.bias.grad is not None
