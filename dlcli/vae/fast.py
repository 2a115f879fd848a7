"""Fast paths: quicker forms of parts of the networks and of the objective, for training on a CPU.

Each computes what the plain modules compute, and is held against them by a test. Each *claims* the
exact module types that it was written for: a network with any other module in it, with a setting
that is not known here, or with a hook, takes the plain path. A new network may be slow, but it is
never wrong.

- `negative_elbo`: the ELBO of the fully connected VAE and its gradient, as one function;
- `FirstStage`: the first convolution without maps of 28×28 pixels;
- `ProductConv2d`, `ProductTranspose2d`: weight gradients in bfloat16 as one product of matrices.

Legend: B images, D latent dimensions, H units of a hidden layer, 784 pixels, C feature maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dlcli.vae.config import VaeObjectiveConfig
from dlcli.vae.networks import (
    LOGVAR_RANGE,
    VAE,
    ConvDecoder,
    ConvEncoder,
    ConvStage,
    Coupling,
    Flow,
    FoldedTranspose,
    FromOnePixel,
    FrozenMaps,
    FrozenUnits,
    MlpDecoder,
    MlpEncoder,
    SkipVAE,
    UnitNorm,
)

Kinds = Mapping[type[nn.Module], set[str] | None]
"""Exact module types, each with the attributes that it may have of its own (None: any)."""

_VAE: Kinds = {VAE: {"latent_dim", "flow"}, nn.Linear: None, nn.ReLU: None, nn.Sequential: None}
_MLP: Kinds = {**_VAE, MlpEncoder: {"features"}, MlpDecoder: set()}
_OF_MODULE = vars(nn.Module()).keys()


def claims(module: nn.Module, kinds: Kinds) -> bool:
    """Say whether a module and all inside it are exactly of these kinds, without a hook."""
    for part in module.modules():
        known = kinds.get(type(part), set())
        if type(part) not in kinds or part._forward_hooks or part._forward_pre_hooks:
            return False
        if known is not None and vars(part).keys() - _OF_MODULE - known:
            return False
        if not _has_usual_settings(part):
            return False
    return True


def _has_usual_settings(part: nn.Module) -> bool:
    """Say whether a layer of PyTorch has the settings that all fast paths take for granted."""
    if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
        return (part.dilation, part.groups, part.padding_mode) == ((1, 1), 1, "zeros") and (
            part.output_padding == (0, 0)
        )
    if isinstance(part, nn.BatchNorm2d):
        return part.affine and part.track_running_stats and part.momentum is not None
    return True


def takes_negative_elbo(vae: VAE, objective: VaeObjectiveConfig, pixels: Tensor) -> bool:
    """Say whether `negative_elbo` computes this objective of this network."""
    plain = (objective.objective, objective.likelihood) == ("elbo", "bernoulli")
    on_cpu = pixels.device.type == "cpu" and not torch.compiler.is_compiling()
    if not (plain and objective.free_bits == 0 and on_cpu and not pixels.requires_grad):
        return False
    if not claims(vae, _MLP) or vae.flow is not None:
        return False
    if any(part.bias is None for part in vae.modules() if isinstance(part, nn.Linear)):
        return False
    encoder, decoder = (
        [type(layer) for layer in _leaves(half)] for half in (vae.encoder, vae.decoder)
    )
    pair = [nn.Linear, nn.ReLU]
    deep, high = len(encoder) // 2, len(decoder) // 2
    return encoder == pair * deep and decoder == [*pair * high, nn.Linear]


def _leaves(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if not list(part.children())]


def negative_elbo(
    vae: VAE, pixels: Tensor, *, eps: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, reconstruction and KL, sums over images in nats; only the loss has a gradient.

    The formulas are those of `dlcli.vae.objective`, written out (Questions 7 to 9) because that is
    quicker on a CPU: no graph of thirty nodes is built, each weight is rounded to bfloat16 once,
    and the gradient σ(l) − x of the cross-entropy also yields its value.

    Args:
        vae: fully connected; see `takes_negative_elbo`.
        pixels: (B, 784) in [0, 1].
        eps: standard normal noise (B, D).
        beta: scalar, weight of the KL term.
    """
    dtype = pixels.dtype
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    encoder, decoder = (
        [layer for layer in _leaves(half) if isinstance(layer, nn.Linear)]
        for half in (vae.encoder, vae.decoder)
    )
    layers = [*encoder, vae.posterior, *decoder]
    weights = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
    apply: Any = _NegativeElbo.apply
    with torch.autocast("cpu", enabled=False):
        loss, reconstruction, kl = apply(dtype, len(encoder), pixels, eps, beta, *weights)
    return loss, reconstruction, kl


class _NegativeElbo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        dtype, depth, pixels, eps, beta, *w = arguments
        post = 2 * depth  # of encoder, posterior, decoder: the weight of the posterior's layer
        narrow = [*(t.to(dtype) for t in w[:post]), *(t.to(dtype) for t in w[post + 2 :])]
        hidden = _layer_by_layer(pixels.to(dtype), narrow[:post])
        hidden[-1].relu_()
        wide = w[post].dtype  # a rounded mean would be noise in z
        mean, raw = F.linear(hidden[-1].to(wide), w[post], w[post + 1]).chunk(2, dim=1)
        logvar = raw.clamp(*LOGVAR_RANGE)
        sigma = torch.exp(0.5 * logvar)
        spread = torch.expm1(logvar)
        kl = 0.5 * (spread - logvar + mean.square()).sum()
        shown = _layer_by_layer((mean + sigma * eps).to(dtype), narrow[post:])
        reconstruction, difference = cross_entropy(shown[-1].to(wide), pixels)
        ctx.save_for_backward(
            *(beta, mean, sigma * eps, spread, raw == logvar, difference, w[post]),
            *narrow[:post:2],
            *narrow[post::2],
            *hidden,
            *shown[:-1],
        )
        ctx.depth, ctx.dtype = depth, dtype
        ctx.mark_non_differentiable(reconstruction, kl)
        return reconstruction + beta * kl, reconstruction, kl

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_unused: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            beta, mean, noise, spread, inside, difference, posterior, *rest = ctx.saved_tensors
            layers = (len(rest) - 1) // 2
            weights, depth = rest[:layers], ctx.depth
            hidden, shown = rest[layers : layers + depth + 1], rest[layers + depth + 1 :]
            pull = (difference * grad).to(ctx.dtype)
            decoder, for_z = _pull_back(pull, shown, weights[depth:])
            for_z = for_z.to(mean.dtype)
            share = grad * beta
            for_logvar = 0.5 * (for_z * noise + share * spread) * inside
            pull = torch.cat([for_z + share * mean, for_logvar], dim=1)  # (B, 2D)
            middle = [pull.t() @ hidden[-1].to(pull.dtype), pull.sum(0)]
            pull = _choose((pull @ posterior).to(ctx.dtype), hidden[-1])
            encoder, _ = _pull_back(pull, hidden[:-1], weights[:depth], to_input=False)
        return None, None, None, None, None, *encoder, *middle, *decoder


GROUP = 49
"""Probabilities ≥ ½ whose product is taken before its logarithm: 2⁻⁴⁹ is far from underflow."""


def cross_entropy(logits: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ softplus(l) − x·l over all pixels, and its gradient σ(l) − x.

    softplus(l) = max(l, 0) − log max(σ(l), 1 − σ(l)), and logarithms are taken of products.

    Args:
        logits: (B, 784).
        pixels: (B, 784) in [0, 1].
    """
    on = torch.sigmoid(logits)
    surer = (on - 0.5).abs_().add_(0.5)  # max(σ, 1 − σ) ≥ ½
    logs = surer.view(len(surer), GROUP, 784 // GROUP).prod(1).log_().sum()
    value = logits.clamp_min(0).sum() - logs - torch.dot(logits.flatten(), pixels.flatten())
    return value, on.sub_(pixels)


def _layer_by_layer(x: Tensor, layers: Sequence[Tensor]) -> list[Tensor]:
    """Return the input and what each layer makes of it, rectified except for the last."""
    found = [x]
    for number in range(0, len(layers), 2):
        if number:
            found[-1].relu_()
        found.append(torch.addmm(layers[number + 1], found[-1], layers[number].t()))
    return found


def _pull_back(
    pull: Tensor, inputs: Sequence[Tensor], weights: Sequence[Tensor], *, to_input: bool = True
) -> tuple[list[Tensor], Tensor]:
    """Walk back through linear layers with ReLU in between.

    Args:
        pull: the loss's gradient at the last layer's output.
        inputs: of each layer, after ReLU.
        weights: of each layer.
        to_input: whether the gradient at the first layer's input is wanted.

    Returns:
        the gradients of weights and biases, in layer order and float32 or wider; and `pull` at the
        input.
    """
    gradients: list[Tensor] = []
    wide = torch.promote_types(pull.dtype, torch.float32)
    for number in reversed(range(len(weights))):
        gradients = [(pull.t() @ inputs[number]).to(wide), pull.sum(0, dtype=wide), *gradients]
        if number or to_input:
            pull = pull @ weights[number]
        if number:
            pull = _choose(pull, inputs[number])
    return gradients, pull


def _choose(pull: Tensor, rectified: Tensor) -> Tensor:
    """Pass the gradient on where a ReLU let the value through."""
    kept: Tensor = torch.ops.aten.threshold_backward(pull, rectified, 0)
    return kept


def accelerate(vae: VAE) -> None:
    """Give the layers of a convolutional VAE their quicker forms; another network stays as it is.

    The layers keep their parameters, buffers and names, and get another `forward`.
    """
    if not claims(vae, _CONV):
        return
    for layer in vae.modules():
        if type(layer) is nn.Conv2d and layer.in_channels >= PRODUCT_FROM:
            layer.__class__ = ProductConv2d
        elif type(layer) is nn.ConvTranspose2d:
            layer.__class__ = ProductTranspose2d
    assert isinstance(vae.encoder, ConvEncoder)
    vae.encoder.stages[0].__class__ = FirstStage


PRODUCT_FROM = 32
"""Input maps from which the weight gradient of a 3×3 convolution is quicker as a product."""


class FirstStage(ConvStage):
    """The stage that reads the image, in training without a map of 28×28 pixels.

    Max-pooling after a 3×3 convolution looks at 4×4 pixels of the image: four products of those 16
    pixels with the kernel, set at the four places, and the largest of the four results. Batch
    normalisation in between is affine for each feature map, so it goes into the kernels; the mean
    and variance it needs are those of a linear map of patches, hence known from the patches' own
    first and second moments (16 and 16×16 numbers). In the ordinary way the maps at 28×28 pixels,
    16 times the image, are walked over seven times, and that is memory traffic: 6.2 ms of a step of
    35 ms.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, 28, 28) to (B, C, 14, 14)."""
        plain = x.requires_grad or x.device.type != "cpu" or torch.compiler.is_compiling()
        conv = self.conv
        shape = (conv.kernel_size, conv.stride, conv.padding, conv.bias)
        usual = shape == ((3, 3), (1, 1), (1, 1), None)
        if self.training and not plain and usual and claims(self, _STAGE):
            assert isinstance(self.norm, nn.BatchNorm2d)
            return first_stage(x[:, 0], conv, self.norm)
        return super().forward(x)


_STAGE: Kinds = {FirstStage: set(), nn.Conv2d: None, nn.BatchNorm2d: None}

SIDE, POOLED, REACH = 28, 14, 4


def first_stage(images: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Convolve, normalise over the batch, pool and rectify; keep the running statistics.

    Args:
        images: (B, 28, 28), float32 or wider; they get no gradient.
        conv: 1 → C maps, 3×3, padding 1, no bias.
        norm: of C maps, in training, with a momentum.

    Returns:
        (B, C, 14, 14), channels-last, in autocast's type.
    """
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
    if norm.running_mean is None or norm.running_var is None or norm.momentum is None:
        raise ValueError("the first stage needs running statistics with a momentum")
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
        wide = out.view(
            -1, POOLED * POOLED * out.shape[1]
        )  # adding to rows of 16 is not vectorised
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
        if weight is None:
            return super().forward(x)
        apply: Any = _Convolve.apply
        maps: Tensor = apply(x.to(weight.dtype), weight, self.stride, self.padding)
        return maps


class ProductTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with the quicker weight gradient."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, O, h, w) to (B, C, H, W)."""
        weight = _narrow_weight(self, x)
        if weight is None or output_size is not None:
            return super().forward(x, output_size)
        apply: Any = _Transpose.apply
        maps: Tensor = apply(x.to(weight.dtype), weight, self.stride, self.padding)
        return maps


def _narrow_weight(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor | None:
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


_CONV: Kinds = {
    **_VAE,
    SkipVAE: {"latent_dim", "flow"},
    ConvEncoder: {"features"},
    ConvDecoder: {"skipped"},
    ConvStage: set(),
    FirstStage: set(),
    Flow: None,
    Coupling: {"kept"},
    **dict.fromkeys((nn.ModuleList, nn.Identity, nn.Conv2d, nn.ConvTranspose2d)),
    **dict.fromkeys((ProductConv2d, ProductTranspose2d, FromOnePixel, FoldedTranspose)),
    **dict.fromkeys((nn.BatchNorm2d, UnitNorm, FrozenMaps, FrozenUnits)),
}
