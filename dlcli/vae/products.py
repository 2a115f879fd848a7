"""Convolutions whose weight gradient is one product of matrices, in bfloat16 on a CPU.

oneDNN's own weight gradient takes up to three times as long for the small maps of this package:
with 64 images and 128→64 maps from 4×4 to 7×7 pixels, 3.0 ms on one thread against 1.5 ms for
cutting the patches and one product. Forward and the input's gradient stay oneDNN's, which are as
fast as a product; in float32 all of it does. Parameters and results are those of torch's layers.

Legend: B images, C feature maps of the larger side, O of the smaller, h = w its pixels a side,
k = kernel width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class ProductConv2d(nn.Conv2d):
    """`nn.Conv2d` with the quicker weight gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, O, h, w)."""
        weight = narrow_weight(self, x)
        if weight is None:
            return super().forward(x)
        apply: Any = _Convolve.apply
        maps: Tensor = apply(x.to(weight.dtype), weight, self.stride, self.padding)
        return maps


class ProductTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with the quicker weight gradient."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, O, h, w) to (B, C, H, W)."""
        weight = narrow_weight(self, x)
        if weight is None or output_size is not None:
            return super().forward(x, output_size)
        apply: Any = _Transpose.apply
        maps: Tensor = apply(x.to(weight.dtype), weight, self.stride, self.padding)
        return maps


def narrow_weight(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor | None:
    """Return the weight in bfloat16 where the product is used, else nothing."""
    on_cpu = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if not on_cpu or layer.bias is not None or torch.compiler.is_compiling():
        return None
    dtype = torch.get_autocast_dtype("cpu")
    return layer.weight.to(dtype) if dtype == torch.bfloat16 else None


def weight_gradient(small: Tensor, large: Tensor, *, like: Tensor, stride: int, pad: int) -> Tensor:
    """Sum, over images and pixels of the smaller side, its maps times the other side's patches.

    Args:
        small: (B, O, h, w): a convolution's gradient, or a transposed convolution's input.
        large: (B, C, H, W): a convolution's input, or a transposed convolution's gradient.
        like: the weight, (O, C, k, k).
        stride, pad: of the convolution.

    Returns:
        (O, C, k, k).
    """
    outer, C, k, _ = like.size()
    B, _, h, w = small.size()
    maps = F.pad(large.permute(0, 2, 3, 1), (0, 0, pad, pad, pad, pad)).contiguous()
    image, row, pixel, _ = maps.stride()
    patches = maps.as_strided(  # of one row of a patch, k pixels and their maps lie together
        (B, h, w, k, k * C), (image, stride * row, stride * pixel, row, 1)
    ).reshape(B * h * w, k * k * C)
    rows = small.permute(0, 2, 3, 1).reshape(B * h * w, outer)
    return (rows.t() @ patches).view(outer, k, k, C).permute(0, 3, 1, 2)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        x, weight, stride, pad = arguments
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.pad = stride, pad
        maps: Tensor = F.conv2d(x, weight, stride=stride, padding=pad)
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        stride, pad = ctx.stride, ctx.pad
        for_x = None
        if ctx.needs_input_grad[0]:
            for_x = torch.ops.aten.convolution_backward(
                *(grad, x, weight, None, stride, pad, (1, 1), False, (0, 0), 1),
                (True, False, False),
            )[0]
        gradient = weight_gradient(grad, x, like=weight, stride=stride[0], pad=pad[0])
        return for_x, gradient, None, None


class _Transpose(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        x, weight, stride, pad = arguments
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.pad = stride, pad
        maps: Tensor = F.conv_transpose2d(x, weight, stride=stride, padding=pad)
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        stride, pad = ctx.stride, ctx.pad
        for_x = F.conv2d(grad, weight, stride=stride, padding=pad)
        gradient = weight_gradient(x, grad, like=weight, stride=stride[0], pad=pad[0])
        return for_x, gradient, None, None
