"""The vocabulary's softmax and its loss in one: logits exist for some rows at a time only.

The gradient of the logits, softmax minus smoothed target, is written over the logits in the forward
pass, and the three products it goes into are taken there and then; the backward pass only scales
them. What `smoothed_cross_entropy` of `F.linear` does, which it is held against.

Legend: M target words, R features, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from dlcli.nmt.native import native
from dlcli.nmt.precision import product_dtype

BLOCK_BYTES = 2**25
"""Logits of so many rows are alive at once: most of a last-level cache."""
ROWS = 64
"""Rows whose softmax is computed at once in full precision. Callers fill up to a multiple of it:
oneDNN compiles, and keeps, a product for every new number of rows."""
NO_WORD = -1
"""The target of a row that only fills up: it counts for nothing."""


def softmax_loss(
    features: Tensor,
    *,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return the label-smoothed loss and the negative log-likelihood, summed over words, in nats.

    Args:
        features: (M, R).
        weight: (V, R).
        bias: (V,).
        targets: (M,) int64; `NO_WORD` where a row is not to be counted.
        label_smoothing: ε in [0, 1).

    Returns:
        The loss, and the likelihood's, into which no gradient flows.
    """
    apply: Any = _SoftmaxLoss.apply
    loss, nll = apply(features, weight, bias, targets, label_smoothing)
    return loss, nll


class _SoftmaxLoss(Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        features, weight, bias, targets, smoothing = arguments
        low, full = product_dtype(weight), weight.dtype
        ctx.types = [argument.dtype for argument in arguments[:3]]
        with torch.autocast(weight.device.type, enabled=False):
            few, rows, columns = features.to(low), weight.to(low), bias.to(low)
            sums = features.new_zeros(2, dtype=full)
            compiled, wanted = native(weight, low=low), any(ctx.needs_input_grad)
            turn = turn_to_grads if compiled is None else compiled.softmax_grads
            grads = _Grads(few, rows=rows, full=full) if wanted else None
            size = max(ROWS, BLOCK_BYTES // (rows.size(0) * rows.element_size()))
            for start in range(0, len(few), size):
                block = slice(start, start + size)
                logits = torch.addmm(columns, few[block], rows.t())  # (≤ size, V)
                sums += turn(logits, targets=targets[block], smoothing=smoothing)
                if grads is not None:
                    grads.add(logits, few=few, rows=rows, block=block)
        ctx.grads = grads
        loss, nll = sums.unbind()
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    def backward(ctx: Any, *output_grads: Any) -> tuple[Tensor | None, ...]:
        scale, grads = output_grads[0], ctx.grads
        found = (grads.features, grads.weight, grads.bias)
        scaled = [grad.to(kind).mul_(scale) for grad, kind in zip(found, ctx.types, strict=True)]
        ctx.grads = None
        return (*scaled, None, None)


class _Grads:
    """Gradients of a sum of losses, block by block."""

    def __init__(self, few: Tensor, *, rows: Tensor, full: torch.dtype) -> None:
        self.features = torch.empty_like(few)
        self.weight = torch.zeros_like(rows) if not len(few) else None
        self.bias = rows.new_zeros(len(rows), dtype=full)
        self._full = full

    def add(self, logits_grad: Tensor, *, few: Tensor, rows: Tensor, block: slice) -> None:
        """Take in one block's gradient of the logits."""
        torch.mm(logits_grad, rows, out=self.features[block])
        weight = torch.mm(logits_grad.t(), few[block])
        whole = logits_grad.size(0) == len(few)
        if self.weight is None:
            self.weight = weight if whole else weight.to(self._full)
        else:
            self.weight += weight
        if compiled := native(self.bias, low=few.dtype):
            compiled.add_columns(logits_grad, self.bias)
        else:
            self.bias += logits_grad.sum(0, dtype=self._full)


def turn_to_grads(logits: Tensor, *, targets: Tensor, smoothing: float) -> Tensor:
    """Write the gradient of the loss over the logits (M, V); return loss and nll (2,), summed."""
    V = logits.size(1)
    full = torch.promote_types(logits.dtype, torch.float32)
    sums = logits.new_zeros(2, dtype=full)
    for start in range(0, len(logits), ROWS):
        part = logits[start : start + ROWS]
        counted = targets[start : start + ROWS, None] != NO_WORD
        wanted = targets[start : start + ROWS, None].clamp(min=0)
        log_p = torch.log_softmax(part, dim=1, dtype=full) * counted
        nll = -log_p.gather(1, wanted).sum()
        uniform = -log_p.sum() / V
        sums += torch.stack([(1 - smoothing) * nll + smoothing * uniform, nll])
        grad = log_p.exp_().sub_(smoothing / V)
        grad.scatter_add_(1, wanted, grad.new_full((1, 1), smoothing - 1).expand(len(part), 1))
        part.copy_(grad.mul_(counted))
    return sums
