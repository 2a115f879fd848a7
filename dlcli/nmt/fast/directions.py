"""Both directions of a GRU layer at once, as one function with a gradient of its own.

The backward direction is the forward one over the reversed sequence, so a step takes both as one
batch. Padding leaves a state as it is: reversed, it comes first and leaves zero, so that direction
begins at a sentence's real end. There is no packing. It computes what `run_gru` does and is held
against it. Projections of the inputs, and the gradient of every weight, are single products over
all steps.

Time comes before the batch here. Legend: D directions (1 or 2), S length, B batch, I inputs,
H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from dlcli.nmt.fast.kernels import choose_elementwise
from dlcli.nmt.gru import fold_biases, product_dtype


def run_directions(
    inputs: Tensor, *, cells: Sequence[nn.GRUCell], mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Read sequences, from the front with the first cell and from the end with the second.

    Args:
        inputs: (S, B, I).
        cells: one or two.
        mask: (S, B) bool, True where there is a token.

    Returns:
        The states (S, B, D·H), zero on padding, and each direction's last state (B, D·H).
    """
    D, B, H = len(cells), inputs.size(1), cells[0].hidden_size
    ordered = [inputs, inputs.flip(0)]
    masks = torch.stack([mask, mask.flip(0)][:D], dim=1)  # (S, D, B)
    biases = [fold_biases(cell.bias_ih, cell.bias_hh) for cell in cells]
    projected = [
        F.linear(one, cell.weight_ih, bias)
        for one, cell, (bias, _) in zip(ordered[:D], cells, biases, strict=True)
    ]
    states = masked_gru(
        torch.stack(projected, dim=1),
        initial=cells[0].weight_hh.new_zeros(D, B, H),
        mask=masks,
        weights=[cell.weight_hh for cell in cells],
        bias_n=torch.stack([bias_n for _, bias_n in biases]),
    )  # (S, D, B, H)
    last = torch.cat(list(states[-1]), dim=1)
    found = [states[:, 0], states[:, 1].flip(0)] if D == 2 else [states[:, 0]]
    return torch.cat(found, dim=2) * mask[:, :, None], last


def masked_gru(
    projected: Tensor, *, initial: Tensor, mask: Tensor, weights: Sequence[Tensor], bias_n: Tensor
) -> Tensor:
    """Return the states (S, D, B, H) after each step.

    Args:
        projected: W x with all biases but the state's of n (S, D, B, 3H).
        initial: (D, B, H), in full precision.
        mask: (S, D, B) bool; where False a state stays as it is.
        weights: D of (3H, H).
        bias_n: the state's bias of n (D, H).
    """
    apply: Any = _MaskedGru.apply
    states: Tensor = apply(projected, initial, mask, bias_n, *weights)
    return states


@dataclass(frozen=True, kw_only=True)
class Tape:
    """What the forward pass keeps for the backward one.

    Attributes:
        states: (S + 1, D, B, H).
        states_low: the same in the precision of products; may be the same tensor.
        gates: r, z, n, and the state's part of n (S, D·B, 4H).
        mask: (S, D·B).
        weights: D of (3H, H), in the precision of products.
    """

    states: Tensor
    states_low: Tensor
    gates: Tensor
    mask: Tensor
    weights: list[Tensor]


class _MaskedGru(Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        projected, initial, mask, bias_n, *parameters = arguments
        low = product_dtype(initial)
        S, (D, B, H) = len(projected), initial.size()
        states = initial.new_empty(S + 1, D, B, H)
        tape = Tape(
            states=states,
            states_low=states if low == states.dtype else torch.empty_like(states, dtype=low),
            gates=initial.new_empty(S, D * B, 4 * H),
            mask=mask.reshape(S, D * B),
            weights=[weight.to(low) for weight in parameters],
        )
        states[0] = initial
        tape.states_low[0] = initial
        with torch.autocast(initial.device.type, enabled=False):
            _run(projected.contiguous(), tape=tape, bias_n=bias_n)
        ctx.tape, ctx.input_dtype = tape, projected.dtype
        made: Tensor = states[1:]
        return made

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        tape: Tape = ctx.tape
        with torch.autocast(tape.states.device.type, enabled=False):
            return _run_back(grads[0], tape=tape, input_dtype=ctx.input_dtype)


def _run(projected: Tensor, *, tape: Tape, bias_n: Tensor) -> None:
    """Fill the tape."""
    S, D, B, width = projected.size()
    H = tape.states.size(3)
    flat, flat_low = (x.view(S + 1, D * B, H) for x in (tape.states, tape.states_low))
    from_state = tape.states_low.new_empty(D, B, width)
    steps = choose_elementwise(tape.states, low=tape.states_low.dtype)
    for t in range(S):
        for d, weight in enumerate(tape.weights):
            torch.mm(tape.states_low[t, d], weight.t(), out=from_state[d])
        steps.gates(
            projected[t].view(D * B, width),
            contexts=None,
            state=from_state.view(D * B, width),
            bias_n=bias_n,
            hidden=flat[t],
            mask=tape.mask[t],
            gates=tape.gates[t],
            out=flat[t + 1],
            out_low=flat_low[t + 1],
        )


def _run_back(
    states_grad: Tensor, *, tape: Tape, input_dtype: torch.dtype
) -> tuple[Tensor | None, ...]:
    """Return the gradients of all that `_MaskedGru.forward` was given, in its order."""
    S, D, B, H = states_grad.size()
    full, low = tape.states, tape.states_low.dtype
    back = full.new_empty(S, D * B, 4 * H, dtype=low)  # n | r | z | n·r
    grad = full.new_zeros(D, B, H)
    from_state = grad.new_empty(D, B, H, dtype=low)
    flat = full.view(S + 1, D * B, H)
    steps = choose_elementwise(full, low=low)
    for t in reversed(range(S)):
        grad += states_grad[t]
        steps.gates_backward(
            grad.view(D * B, H),
            gates=tape.gates[t],
            hidden=flat[t],
            mask=tape.mask[t],
            gates_grad=back[t],
        )
        for d, weight in enumerate(tape.weights):
            torch.mm(back[t, d * B : (d + 1) * B, H:], weight, out=from_state[d])
        grad += from_state
    by_direction = back.view(S, D, B, 4 * H).transpose(0, 1).reshape(D, S * B, 4 * H)
    projected = torch.cat([by_direction[:, :, H : 3 * H], by_direction[:, :, :H]], dim=2)
    before = tape.states_low[:S].transpose(0, 1).reshape(D, S * B, H)
    weights = [torch.mm(by_direction[d, :, H:].t(), before[d]).to(full.dtype) for d in range(D)]
    bias_n = by_direction[:, :, 3 * H :].sum(1, dtype=full.dtype)
    projected = projected.view(D, S, B, 3 * H).transpose(0, 1).to(input_dtype)
    return projected, grad, None, bias_n, *weights
