"""The quicker weight gradients against torch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dlcli.vae.fast import ProductConv2d, ProductTranspose2d, weight_gradient

B, C, OUT = 3, 5, 7


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 1, 1), (4, 1, 0), (4, 2, 1)])
def test_the_gradient_is_autograds(kernel: int, stride: int, pad: int) -> None:
    large = torch.randn(B, C, 8, 6, dtype=torch.float64)
    weight = torch.randn(OUT, C, kernel, kernel, dtype=torch.float64, requires_grad=True)
    out = nn.functional.conv2d(large, weight, stride=stride, padding=pad)
    grad = torch.randn_like(out)
    (expected,) = torch.autograd.grad(out, weight, grad)
    ours = weight_gradient(grad, large, like=weight, stride=stride, pad=pad)
    torch.testing.assert_close(ours, expected)


def _layers(transposed: bool, *, kernel: int, stride: int, pad: int) -> tuple[nn.Module, nn.Module]:
    kinds = (ProductTranspose2d, nn.ConvTranspose2d) if transposed else (ProductConv2d, nn.Conv2d)
    ours, torchs = (kind(C, OUT, kernel, stride=stride, padding=pad, bias=False) for kind in kinds)
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
    ours, torchs = _layers(transposed, kernel=kernel, stride=stride, pad=pad)
    x = torch.randn(B, C, 6, 4).contiguous(memory_format=torch.channels_last)
    grad = torch.randn_like(torchs(x))
    for mine, theirs in zip(_run(ours, x, grad), _run(torchs, x, grad), strict=True):
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=0.02, atol=0.05)
    assert torch.equal(ours(x), torchs(x))  # in float32 they are the same layers


def test_a_bias_leaves_it_to_torch() -> None:
    layer = ProductConv2d(C, OUT, 3, padding=1)
    out, _, _ = _run(layer, torch.randn(B, C, 4, 4))
    assert out.shape == (B, OUT, 4, 4)
    assert layer.bias is not None
    assert layer.bias.grad is not None
