"""Gradient norms of a stack: of its last feed-forward matrix, and layer by layer.

All norms are Frobenius norms, summed in float64. Shapes: B batch, T tokens, D features.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dlcli.layernorm.problem import Probe, require_finite
from dlcli.layernorm.stack import Stack


@dataclass(frozen=True, kw_only=True)
class LayerNorms:
    """Gradient norms of one stack on one batch.

    Attributes:
        weights: of all parameters of layer 1 … L together.
        w2: of the second feed-forward matrix of layer 1 … L.
        hidden: of ∂loss/∂x_0 … ∂loss/∂x_L, so one more than there are layers.
        loss: nats per token.
    """

    weights: tuple[float, ...]
    w2: tuple[float, ...]
    hidden: tuple[float, ...]
    loss: float


def last_layer_norm(stack: Stack, probe: Probe) -> float:
    """Return the norm of ∂loss/∂W^{2,L}, the matrix of Xiong et al. 2020, Theorem 1.

    Only the last matrix asks for a gradient, so nothing below it is kept: memory does not grow with
    activations, and the cost is that of a forward pass.

    Raises:
        RunFailed: the stack or the gradient is not finite in its number format.
    """
    weight = stack.layer(stack.depth - 1).w2
    with _only(stack, weight):
        hidden = stack(probe.x)
        require_finite(hidden.detach(), what="The stack's output", dtype=probe.x.dtype)
        (gradient,) = torch.autograd.grad(probe.loss(hidden), weight)
    require_finite(gradient, what="The last layer's gradient", dtype=probe.x.dtype)
    return _norm(gradient)


def layer_norms(stack: Stack, x: Tensor, *, loss: Callable[[Tensor], Tensor]) -> LayerNorms:
    """Return the gradient norm of every layer's weights and of every hidden state.

    Args:
        stack: any placement.
        x: its input (B, T, D).
        loss: turns its output (B, T, D) into a scalar.

    Raises:
        RunFailed: something is not finite in its number format.
    """
    start = x.detach().requires_grad_()
    states = list(stack.states(start))
    value = loss(stack.finish(states[-1]))
    require_finite(value.detach(), what="The loss", dtype=x.dtype)
    groups = [list(stack.layer(index).parameters()) for index in range(stack.depth)]
    flat = [weight for group in groups for weight in group]
    gradients = torch.autograd.grad(value, [*states, *flat])
    hidden = tuple(_norm(g) for g in gradients[: len(states)])
    norms = {id(w): _norm(g) for w, g in zip(flat, gradients[len(states) :], strict=True)}
    result = LayerNorms(
        weights=tuple(_root([norms[id(w)] for w in group]) for group in groups),
        w2=tuple(norms[id(stack.layer(index).w2)] for index in range(stack.depth)),
        hidden=hidden,
        loss=value.item(),
    )
    everything = torch.tensor([*result.weights, *result.hidden])
    require_finite(everything, what="A layer's gradient", dtype=x.dtype)
    return result


@contextlib.contextmanager
def _only(stack: Stack, weight: nn.Parameter) -> Iterator[None]:
    kept = [(p, p.requires_grad) for p in stack.parameters()]
    for parameter, _ in kept:
        parameter.requires_grad_(parameter is weight)
    try:
        yield
    finally:
        for parameter, flag in kept:
            parameter.requires_grad_(flag)


def _norm(gradient: Tensor) -> float:
    total: Tensor = torch.linalg.vector_norm(gradient.cpu(), dtype=torch.float64)
    return total.item()


def _root(norms: list[float]) -> float:
    return math.hypot(*norms)
