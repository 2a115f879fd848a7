"""A fast path: the ELBO of the fully connected VAE and its gradient, as one function on a CPU.

It computes what the plain modules compute, and is held against them by a test. It *claims* the
exact module types that it was written for: a network with any other module in it, with a setting
that is not known here, or with a hook, takes the plain path. A new network may be slow, but it is
never wrong.

Legend: B images, D latent dimensions, 784 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dlcli.vae.config import VaeObjectiveConfig
from dlcli.vae.networks import LOGVAR_RANGE, VAE, MlpDecoder, MlpEncoder

KINDS: Mapping[type[nn.Module], set[str] | None] = {
    VAE: {"latent_dim", "flow"},
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
    plain = (objective.objective, objective.likelihood) == ("elbo", "bernoulli")
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
