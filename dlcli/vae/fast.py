"""A fast path: the ELBO of the fully connected VAE and its gradient, as one function on a CPU.

It computes what the plain modules compute, and is held against them by a test. It *claims* the
exact module types that it was written for: a network with any other module in it, with a setting
that is not known here, or with a hook, takes the plain path. A new network may be slow, but it is
never wrong.

Legend: B images, D latent dimensions, M pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dlcli.vae.config import VaeObjectiveConfig
from dlcli.vae.likelihood import Bernoulli
from dlcli.vae.networks import LOGVAR_RANGE, VAE, MlpDecoder, MlpEncoder

KINDS: Mapping[type[nn.Module], set[str] | None] = {
    VAE: {"latent_dim", "flow", "shape"},
    Bernoulli: set(),
    MlpEncoder: {"features"},
    MlpDecoder: set(),
    **dict.fromkeys((nn.Linear, nn.ReLU, nn.Sequential)),
}
"""Exact module types, each with the attributes that it may have of its own (None: any)."""

_OF_MODULE = vars(nn.Module()).keys()


def claims(vae: nn.Module) -> bool:
    """Say whether a module and all inside it are of `KINDS`, without a hook."""
    for part in vae.modules():
        known = KINDS.get(type(part), set())
        if type(part) not in KINDS or part._forward_hooks or part._forward_pre_hooks:
            return False
        if known is not None and vars(part).keys() - _OF_MODULE - known:
            return False
    return True


def takes_negative_elbo(vae: VAE, objective: VaeObjectiveConfig, pixels: Tensor) -> bool:
    """Say whether `negative_elbo` computes this objective of this network."""
    plain = objective.objective == "elbo" and type(vae.likelihood) is Bernoulli
    on_cpu = pixels.device.type == "cpu" and not torch.compiler.is_compiling()
    if not (plain and objective.free_bits == 0 and on_cpu and not pixels.requires_grad):
        return False
    if not claims(vae) or vae.flow is not None:
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
        pixels: (B, M) in [0, 1].
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
    """Activations and gradients: `encoded` and `decoded` are the inputs of the layers."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        dtype, depth, pixels, eps, beta, *parameters = arguments
        post = 2 * depth  # of encoder, posterior, decoder: where the posterior's layer is
        weight, bias = parameters[post : post + 2]
        encoder = [tensor.to(dtype) for tensor in parameters[:post]]
        decoder = [tensor.to(dtype) for tensor in parameters[post + 2 :]]
        encoded = _activations(pixels.to(dtype), encoder)
        encoded[-1].relu_()
        wide = weight.dtype  # a rounded mean would be noise in z
        mean, raw = F.linear(encoded[-1].to(wide), weight, bias).chunk(2, dim=1)
        logvar = raw.clamp(*LOGVAR_RANGE)
        noise = torch.exp(0.5 * logvar) * eps
        excess = torch.expm1(logvar)  # σ² − 1
        kl = 0.5 * (excess - logvar + mean.square()).sum()
        decoded = _activations((mean + noise).to(dtype), decoder)
        reconstruction, for_logits = cross_entropy(decoded[-1].to(wide), pixels)
        ctx.save_for_backward(
            *(beta, mean, noise, excess, raw == logvar, for_logits, weight),
            *encoder[::2],
            *decoder[::2],
            *encoded,
            *decoded[:-1],
        )
        ctx.depth, ctx.dtype = depth, dtype
        ctx.mark_non_differentiable(reconstruction, kl)
        return reconstruction + beta * kl, reconstruction, kl

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_unused: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            beta, mean, noise, excess, inside, for_logits, posterior, *rest = ctx.saved_tensors
            layers = (len(rest) - 1) // 2
            weights, depth = rest[:layers], ctx.depth
            encoded, decoded = rest[layers : layers + depth + 1], rest[layers + depth + 1 :]
            delta = (for_logits * grad).to(ctx.dtype)
            decoder, for_z = _backward(delta, decoded, weights[depth:])
            for_z = for_z.to(mean.dtype)
            kl_grad = grad * beta
            for_logvar = 0.5 * (for_z * noise + kl_grad * excess) * inside
            delta = torch.cat([for_z + kl_grad * mean, for_logvar], dim=1)  # (B, 2D)
            middle = [delta.t() @ encoded[-1].to(delta.dtype), delta.sum(0)]
            delta = _relu_backward((delta @ posterior).to(ctx.dtype), encoded[-1])
            encoder, _ = _backward(delta, encoded[:-1], weights[:depth], to_input=False)
        return None, None, None, None, None, *encoder, *middle, *decoder


GROUP = 49
"""Probabilities ≥ ½ whose product is taken before its logarithm: 2⁻⁴⁹ is far from underflow."""


def cross_entropy(logits: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ softplus(l) − x·l over all pixels, and its gradient σ(l) − x.

    softplus(l) = max(l, 0) − log max(σ(l), 1 − σ(l)), and logarithms are taken of products.

    Args:
        logits: (B, M).
        pixels: (B, M) in [0, 1].
    """
    on = torch.sigmoid(logits)
    largest = (on - 0.5).abs_().add_(0.5)  # max(σ, 1 − σ) ≥ ½
    B, M = largest.shape
    group = GROUP if M % GROUP == 0 else 1
    logs = largest.view(B, group, M // group).prod(1).log_().sum()
    value = logits.clamp_min(0).sum() - logs - torch.dot(logits.flatten(), pixels.flatten())
    return value, on.sub_(pixels)


def _activations(x: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the input and each layer's output, after ReLU except for the last.

    Args:
        x: (B, features).
        parameters: weight and bias of each layer.
    """
    found = [x]
    for number in range(0, len(parameters), 2):
        if number:
            found[-1].relu_()
        found.append(torch.addmm(parameters[number + 1], found[-1], parameters[number].t()))
    return found


def _backward(
    delta: Tensor, inputs: Sequence[Tensor], weights: Sequence[Tensor], *, to_input: bool = True
) -> tuple[list[Tensor], Tensor]:
    """Backpropagate through linear layers with ReLU in between.

    Args:
        delta: the loss's gradient at the last layer's output.
        inputs: of each layer, after ReLU.
        weights: of each layer.
        to_input: whether the gradient at the first layer's input is wanted.

    Returns:
        the gradients of weights and biases, in layer order and float32 or wider; and `delta` at the
        input.
    """
    gradients: list[Tensor] = []
    wide = torch.promote_types(delta.dtype, torch.float32)
    for number in reversed(range(len(weights))):
        gradients = [(delta.t() @ inputs[number]).to(wide), delta.sum(0, dtype=wide), *gradients]
        if number or to_input:
            delta = delta @ weights[number]
        if number:
            delta = _relu_backward(delta, inputs[number])
    return gradients, delta


def _relu_backward(delta: Tensor, rectified: Tensor) -> Tensor:
    """Pass the gradient on where a ReLU let the value through."""
    passed: Tensor = torch.ops.aten.threshold_backward(delta, rectified, 0)
    return passed
