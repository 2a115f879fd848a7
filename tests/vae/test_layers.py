"""Layers agree with torch's own in values, gradients and running statistics, at any setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae.layers import (
    PRODUCT_FROM,
    FoldedTranspose,
    FromOnePixel,
    ProductConv2d,
    ProductTranspose2d,
    pooled_convolution,
    takes_pooled_convolution,
    weight_gradient,
)
from dlcli.vae.networks import ConvStage

B, C = 5, 3


def assert_equal_to_torch(layer: nn.ConvTranspose2d, x: Tensor) -> None:
    """Compare outputs and all gradients with `nn.ConvTranspose2d` on the same parameters."""
    x = x.requires_grad_()
    inputs = [x, *layer.parameters()]
    ours = layer(x)
    theirs = nn.ConvTranspose2d.forward(layer, x)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for a, b in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((theirs * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_from_one_pixel_is_a_transposed_convolution(bias: bool) -> None:
    torch.manual_seed(0)
    assert_equal_to_torch(FromOnePixel(5, 3, 4, bias=bias), torch.randn(7, 5, 1, 1))


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 1), (3, 2)])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_folded_transpose_is_a_transposed_convolution(
    inputs: int, outputs: int, memory: torch.memory_format
) -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, inputs, 5, 7).contiguous(memory_format=memory)
    assert_equal_to_torch(FoldedTranspose(inputs, outputs), maps)


def stage_layers(dtype: torch.dtype = torch.float64) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv = nn.Conv2d(1, C, 3, padding=1, bias=False).to(dtype)
    norm = nn.BatchNorm2d(C).to(dtype)
    nn.init.uniform_(norm.weight, -1, 1)  # a negative scale turns the largest into the smallest
    nn.init.normal_(norm.bias)
    return conv, norm


def usual_stage(images: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    return F.max_pool2d(F.relu(norm(conv(images))), 2)


def measure_stage(
    way: Callable[..., Tensor], images: Tensor, layers: tuple[nn.Conv2d, nn.BatchNorm2d]
) -> list[Tensor]:
    conv, norm = layers
    norm.reset_running_stats()
    out = way(images, conv, norm)
    weights = (conv.weight, norm.weight, norm.bias)
    pull = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    grads = torch.autograd.grad((out * pull).sum(), weights)
    return [out.detach(), *grads, *(buffer.clone() for buffer in norm.buffers())]


def test_values_gradients_and_running_statistics_are_the_usual_ones() -> None:
    layers, images = stage_layers(), torch.rand(B, 1, 28, 28, dtype=torch.float64)
    ours, usual = (measure_stage(way, images, layers) for way in (pooled_convolution, usual_stage))
    for mine, theirs in zip(ours, usual, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_equal_values_share_no_gradient_twice() -> None:
    layers = stage_layers()
    images = torch.zeros(B, 1, 28, 28, dtype=torch.float64)
    images[..., 4:9, 5:12] = 0.5  # patches of one colour, whose four places tie
    ours, usual = (
        measure_stage(way, images, layers)[2] for way in (pooled_convolution, usual_stage)
    )
    torch.testing.assert_close(ours, usual)


def test_the_pooled_convolution_under_autocast_rounds_and_no_more() -> None:
    layers, images = stage_layers(torch.float32), torch.rand(B, 1, 28, 28)
    exact = measure_stage(pooled_convolution, images, layers)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = pooled_convolution(images, *layers)
    assert rounded.dtype == torch.bfloat16
    assert rounded.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(rounded.float(), exact[0], rtol=0.02, atol=0.05)


def other_setting(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    conv.padding_mode = "circular"


def bias(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    conv.bias = nn.Parameter(torch.ones(C).double())


def hook(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    conv.register_forward_hook(lambda _module, _inputs, output: 0 * output)


def another_class(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    conv.__class__ = type("Other", (nn.Conv2d,), {"forward": lambda self, x: 0 * x[:, [0] * C]})


def evaluation(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    norm.eval()


def no_momentum(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    norm.momentum = None


@pytest.mark.parametrize(
    "change", [other_setting, bias, hook, another_class, evaluation, no_momentum]
)
def test_a_stage_that_is_changed_takes_the_ordinary_way(
    change: Callable[[nn.Conv2d, nn.BatchNorm2d], None],
) -> None:
    stage = ConvStage(1, C, norm="batch").double()
    x = torch.rand(B, 1, 28, 28).double()
    assert isinstance(stage.norm, nn.BatchNorm2d)
    torch.testing.assert_close(stage(x), usual_stage(x, stage.conv, stage.norm))
    assert takes_pooled_convolution(x, stage.conv, stage.norm)
    assert not takes_pooled_convolution(x[:, :, 2:], stage.conv, stage.norm)
    change(stage.conv, stage.norm)
    assert not takes_pooled_convolution(x, stage.conv, stage.norm)
    torch.testing.assert_close(stage(x), usual_stage(x, stage.conv, stage.norm))


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 1, 1), (4, 1, 0), (4, 2, 1)])
def test_the_weight_gradient_is_autograds(kernel: int, stride: int, pad: int) -> None:
    large = torch.randn(B, C, 8, 6, dtype=torch.float64)
    weight = torch.randn(7, C, kernel, kernel, dtype=torch.float64, requires_grad=True)
    out = F.conv2d(large, weight, stride=stride, padding=pad)
    grad = torch.randn_like(out)
    (expected,) = torch.autograd.grad(out, weight, grad)
    ours = weight_gradient(grad, large, like=weight, stride=stride, pad=pad)
    torch.testing.assert_close(ours, expected)


def run_layer(layer: nn.Module, x: Tensor, grad: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    out.backward(grad.to(out.dtype))
    weight = next(layer.parameters())
    assert x.grad is not None
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert weight.grad.stride() == weight.stride()
    return [out.detach(), x.grad, weight.grad]


CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "bias": True},
    {"kernel_size": 3, "stride": (1, 2)},
    {"kernel_size": (3, 2)},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 3, "dilation": 2},
    {"kernel_size": 3, "groups": 4},
]
TRANSPOSED: list[dict[str, Any]] = [
    {"kernel_size": 4},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 4, "bias": True},
    {"kernel_size": 4, "stride": 2, "output_padding": 1},
    {"kernel_size": 3, "groups": 4},
]


@pytest.mark.parametrize(
    ("ours", "torchs", "settings"),
    [(ProductConv2d, nn.Conv2d, each) for each in CONVOLUTIONS]
    + [(ProductTranspose2d, nn.ConvTranspose2d, each) for each in TRANSPOSED],
)
def test_under_autocast_layers_of_any_setting_are_torchs(
    ours: Callable[..., nn.Module], torchs: Callable[..., nn.Module], settings: dict[str, Any]
) -> None:
    mine, usual = (kind(PRODUCT_FROM, 8, **{"bias": False, **settings}) for kind in (ours, torchs))
    usual.load_state_dict(mine.state_dict())
    x = torch.randn(B, PRODUCT_FROM, 6, 5).contiguous(memory_format=torch.channels_last)
    grad = torch.randn_like(usual(x))
    for a, b in zip(run_layer(mine, x, grad), run_layer(usual, x, grad), strict=True):
        torch.testing.assert_close(a.float(), b.float(), rtol=0.02, atol=0.1)
    assert torch.equal(mine(x), usual(x))  # in float32 they are the same layers
