"""The vocabulary's softmax and its loss in one: logits exist for some rows at a time only.

The gradient of the logits, softmax minus smoothed target, is written over the logits in the
forward pass, and the three products it goes into are taken there and then; the backward pass only
scales them. It computes `smoothed_cross_entropy` of `F.linear`, and is held against it.

Legend: M target words, R features, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from dlcli.nmt.fast.kernels import ROWS, Elementwise, choose_elementwise, product_dtype

BLOCK_BYTES = 2**25
"""Logits of so many rows are alive at once: most of a last-level cache."""


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
            operations = choose_elementwise(weight, low=low)
            wanted = any(ctx.needs_input_grad)
            grads = _Grads(few, rows=rows, operations=operations, full=full) if wanted else None
            size = max(ROWS, BLOCK_BYTES // (rows.size(0) * rows.element_size()))
            for start in range(0, len(few), size):
                block = slice(start, start + size)
                logits = torch.addmm(columns, few[block], rows.t())  # (≤ size, V)
                sums += operations.softmax_grads(
                    logits, targets=targets[block], smoothing=smoothing
                )
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

    def __init__(
        self, few: Tensor, *, rows: Tensor, operations: Elementwise, full: torch.dtype
    ) -> None:
        self.features = torch.empty_like(few)
        self.weight = torch.zeros_like(rows) if not len(few) else None
        self.bias = rows.new_zeros(len(rows), dtype=full)
        self._operations, self._full = operations, full

    def add(self, logits_grad: Tensor, *, few: Tensor, rows: Tensor, block: slice) -> None:
        """Take in one block's gradient of the logits."""
        torch.mm(logits_grad, rows, out=self.features[block])
        weight = torch.mm(logits_grad.t(), few[block])
        whole = logits_grad.size(0) == len(few)
        if self.weight is None:
            self.weight = weight if whole else weight.to(self._full)
        else:
            self.weight += weight
        self._operations.add_columns(logits_grad, self.bias)
