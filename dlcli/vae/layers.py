"""Layers that compute what torch's own do, quicker on a CPU.

Each has the parameters of torch's layer, under the same names, and leaves to it whatever it was not
written for: another setting, device or precision. Each is held against it by a test.

- `FromOnePixel`, `FoldedTranspose`: transposed convolutions at both ends of the decoder;
- `ProductConv2d`, `ProductTranspose2d`: weight gradients in bfloat16 as one product of matrices;
- `pooled_convolution`: the encoder's first stage without maps of 28×28 pixels.

Legend: B images, N pooled pixels of all images, C feature maps, H = W pixels of a side.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class FromOnePixel(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` from 1×1 maps: each output pixel is one linear map of the input."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, C, 1, 1) to (B, C', k, k), channels-last."""
        del output_size
        inputs, outputs, height, width = self.weight.size()
        rows = self.weight.permute(2, 3, 1, 0).reshape(height * width * outputs, inputs)
        bias = None if self.bias is None else self.bias.repeat(height * width)
        maps = F.linear(x.flatten(1), rows, bias)  # (B, k·k·C')
        return maps.view(-1, height, width, outputs).permute(0, 3, 1, 2)


class FoldedTranspose(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` of 4×4, stride 2, padding 1, computed as its definition says.

    Every input pixel is multiplied by the whole kernel in one product of matrices, and the patches
    are added up where they overlap. oneDNN's kernels are made for many output maps, and with one
    map take twice as long, forward and backward.

    Args:
        inputs: feature maps in.
        outputs: feature maps out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C', 2H, 2W)."""
        del output_size
        B, C, H, W = x.size()
        rows = x.permute(0, 2, 3, 1).reshape(B * H * W, C)
        patches = F.linear(rows, self.weight.reshape(C, -1).t())  # (B·H·W, C'·16)
        patches = patches.view(B, H * W, -1).transpose(1, 2)
        out = F.fold(patches, (2 * H, 2 * W), kernel_size=4, stride=2, padding=1)
        return out if self.bias is None else out + self.bias[:, None, None]


PRODUCT_FROM = 32
"""Input maps from which the weight gradient of a 3×3 convolution is quicker as a product."""


class ProductConv2d(nn.Conv2d):
    """`nn.Conv2d` whose weight gradient is one product of matrices, in bfloat16 on a CPU.

    oneDNN's own weight gradient takes up to three times as long for the small maps of this package:
    with 64 images and 128→64 maps from 4×4 to 7×7 pixels, 3.0 ms on one thread against 1.5 ms for
    cutting the patches and one product. Forward and the input's gradient stay oneDNN's, which are
    as fast as a product; in float32 all of it does.

    Legend of what follows: C feature maps of the larger side, O of the smaller, h = w its pixels a
    side, k = kernel width.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, O, h, w)."""
        weight = _narrow_weight(self, x)
        if weight is None or self.in_channels < PRODUCT_FROM:
            return super().forward(x)
        apply: Any = _Convolve.apply
        maps: Tensor = apply(x.to(weight.dtype), weight, self.stride, self.padding)
        return maps


class ProductTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with the quicker weight gradient."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, O, h, w) to (B, C, H, W)."""
        weight = _narrow_weight(self, x)
        if weight is None or output_size is not None or self.output_padding != (0, 0):
            return super().forward(x, output_size)
        apply: Any = _Transpose.apply
        maps: Tensor = apply(x.to(weight.dtype), weight, self.stride, self.padding)
        return maps


def _narrow_weight(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor | None:
    """Return the weight in bfloat16 where the product is used, else nothing."""
    on_cpu = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    usual = (layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), 1, "zeros")
    square = all(len(set(s)) == 1 for s in (layer.kernel_size, layer.stride, layer.padding))
    if not (on_cpu and usual and square) or layer.bias is not None or torch.compiler.is_compiling():
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


SIDE, POOLED, REACH = 28, 14, 4


def takes_pooled_convolution(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    """Say whether `pooled_convolution` computes what these two layers, pooling and a ReLU do."""
    if x.shape[1:] != (1, SIDE, SIDE) or x.requires_grad or x.device.type != "cpu":
        return False
    if type(conv) not in (nn.Conv2d, ProductConv2d) or type(norm) is not nn.BatchNorm2d:
        return False
    hooks = [h for part in (conv, norm) for h in (part._forward_hooks, part._forward_pre_hooks)]
    if any(hooks) or torch.compiler.is_compiling():
        return False
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.padding_mode)
    usual = shape == ((3, 3), (1, 1), (1, 1), (1, 1), "zeros") and conv.bias is None
    batch = norm.training and norm.affine and norm.track_running_stats
    return usual and batch and norm.momentum is not None


def pooled_convolution(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Convolve images, normalise over the batch, pool and rectify, without maps of 28×28 pixels.

    Max-pooling after a 3×3 convolution looks at 4×4 pixels of the image: four products of those 16
    pixels with the kernel, set at the four places, and the largest of the four results. Batch
    normalisation in between is affine for each feature map, so it goes into the kernels; the mean
    and variance it needs are those of a linear map of patches, hence known from the patches' own
    first and second moments (16 and 16×16 numbers). In the ordinary way the maps at 28×28 pixels,
    16 times the image, are walked over seven times, and that is memory traffic: 6.2 ms of a step of
    35 ms.

    Args:
        x: (B, 1, 28, 28), float32 or wider; see `takes_pooled_convolution`.
        conv: 1 → C maps, 3×3, padding 1, no bias.
        norm: of C maps, in training; its running statistics are kept up to date.

    Returns:
        (B, C, 14, 14), channels-last, in autocast's type.
    """
    images = x[:, 0]
    dtype = images.dtype
    if torch.is_autocast_enabled(images.device.type):
        dtype = torch.get_autocast_dtype(images.device.type)
    with torch.autocast(images.device.type, enabled=False):
        rows = patches(images)
        place = _placements().to(images)
        kernels = (place @ conv.weight.view(-1, 9).t()).view(4, REACH * REACH, -1)
        mean, variance = _batch_moments(rows, kernels)
        _keep_statistics(norm, mean=mean, variance=variance, count=4 * len(rows))
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        shift = norm.bias - mean * scale
        apply: Any = _PooledProduct.apply
        maps: Tensor = apply(rows.to(dtype), (kernels * scale).to(dtype), shift.to(dtype))
    return maps.view(len(images), POOLED, POOLED, -1).permute(0, 3, 1, 2)


def _batch_moments(rows: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (C,) over images and pixels of what the kernels would give."""
    with torch.no_grad():
        first, second = rows.mean(0), rows.t() @ rows / len(rows)
    mean = (first @ kernels).mean(0)
    square = ((second @ kernels) * kernels).sum((0, 1)) / 4
    return mean, square - mean.square()


def _keep_statistics(norm: nn.BatchNorm2d, *, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update running statistics as batch normalisation does (with the unbiased variance)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.momentum is not None
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)


class _PooledProduct(torch.autograd.Function):
    """relu(shift + max over four kernels of rows @ kernel); among equals the last one learns."""

    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        rows, kernels, shift = arguments
        a, b, c, d = (rows @ kernel for kernel in kernels)  # each (N, C)
        top, bottom = torch.maximum(a, b), torch.maximum(c, d)
        out = torch.maximum(top, bottom)
        # Adding to rows of 16 is not vectorised.
        wide = out.view(-1, POOLED * POOLED * out.shape[1])
        wide.add_(shift.repeat(POOLED * POOLED)).relu_()
        ctx.save_for_backward(rows, out, top.sub_(bottom), a.sub_(b), c.sub_(d))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor]:
        rows, out, top_leads, a_leads, c_leads = ctx.saved_tensors
        # threshold_backward(g, x, 0) is g where x > 0, else 0, in one vectorised pass.
        choose = torch.ops.aten.threshold_backward
        grad = choose(grad.contiguous(), out, 0)
        top = choose(grad, top_leads, 0)
        bottom = grad - top
        a, c = choose(top, a_leads, 0), choose(bottom, c_leads, 0)
        columns = rows.t()
        parts = [columns @ part for part in (a, top.sub_(a), c, bottom.sub_(c))]
        return None, torch.stack(parts), grad.sum(0)


def patches(images: Tensor) -> Tensor:
    """Cut images (B, 28, 28) into the 4×4 pixels that each pooled one sees: (N, 16)."""
    padded = F.pad(images, (1, 1, 1, 1))
    image, row, _ = padded.stride()
    shape = (len(images), POOLED, POOLED, REACH, REACH)
    return padded.as_strided(shape, (image, 2 * row, 2, row, 1)).reshape(-1, REACH * REACH)


def _placements() -> Tensor:
    """One-hot (4·16, 9): which tap of a 3×3 kernel falls on which of 4×4 pixels, at four places."""
    taps = torch.eye(9).view(9, 3, 3)
    places = [F.pad(taps, (b, 1 - b, a, 1 - a)) for a in (0, 1) for b in (0, 1)]
    return torch.stack(places).permute(0, 2, 3, 1).reshape(64, 9)
