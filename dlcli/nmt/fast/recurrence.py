"""The encoder's and the decoder's recurrences, each as one function with a gradient of its own.

They compute what `Encoder` and `Decoder.unroll` of `dlcli.nmt.networks` do, and are held against
them. They are faster since a step is one or two products with everything else elementwise, and
since the gradient of every weight is one product over all steps after the loop. Products are
bfloat16 under autocast; states, attention and all sums stay in the weights' own precision.

Time comes before the batch here, so that a step is contiguous. Legend: B batch, S source length,
T target length; D directions, I inputs, H hidden of an encoder's direction; E embedding,
C = 2H context, N hidden of the decoder, A attention size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from dlcli.nmt.fast.kernels import AttentionMemory, choose_elementwise, fold_biases, product_dtype


def run_directions(
    inputs: Tensor, *, cells: Sequence[nn.GRUCell], mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Read sequences, from the front with the first of two cells and from the end with the second.

    The backward direction is the forward one over the reversed sequence, so a step takes both as
    one batch. Padding leaves a state as it is: reversed, it comes first and leaves zero, so that
    direction begins at a sentence's real end, without any packing.

    Args:
        inputs: (S, B, I).
        cells: forward and backward.
        mask: (S, B) bool, True where there is a token.

    Returns:
        The states (S, B, 2H), zero on padding, and each direction's last state (B, 2H).
    """
    B, H = inputs.size(1), cells[0].hidden_size
    ordered = [inputs, inputs.flip(0)]
    biases = [fold_biases(cell.bias_ih, cell.bias_hh) for cell in cells]
    projected = [
        F.linear(one, cell.weight_ih, bias)
        for one, cell, (bias, _) in zip(ordered, cells, biases, strict=True)
    ]
    states = masked_gru(
        torch.stack(projected, dim=1),
        initial=cells[0].weight_hh.new_zeros(2, B, H),
        mask=torch.stack([mask, mask.flip(0)], dim=1),
        weights=[cell.weight_hh for cell in cells],
        bias_n=torch.stack([bias_n for _, bias_n in biases]),
    )  # (S, 2, B, H)
    last = torch.cat(list(states[-1]), dim=1)
    both = torch.cat([states[:, 0], states[:, 1].flip(0)], dim=2)
    return both * mask[:, :, None], last


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


class _MaskedGru(Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        projected, initial, mask, bias_n, *parameters = arguments
        low = product_dtype(initial)
        S, (D, B, H) = len(projected), initial.size()
        states = initial.new_empty(S + 1, D, B, H)
        tape = MaskedTape(
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
        tape: MaskedTape = ctx.tape
        with torch.autocast(tape.states.device.type, enabled=False):
            return _run_back(grads[0], tape=tape, input_dtype=ctx.input_dtype)


@dataclass(frozen=True, kw_only=True)
class MaskedTape:
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


def _run(projected: Tensor, *, tape: MaskedTape, bias_n: Tensor) -> None:
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
    states_grad: Tensor, *, tape: MaskedTape, input_dtype: torch.dtype
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
            out=back[t],
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


def attentive_gru(
    embedded: Tensor,
    *,
    initial: Tensor,
    source: AttentionMemory,
    cell: nn.GRUCell,
    query: Tensor,
    updated: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Consume given words.

    Args:
        embedded: (T, B, E).
        initial: s_0 (B, N).
        source: in full precision, its keys as they were projected.
        cell: the GRU's parameters.
        query: the attention's matrix (A, N).
        updated: whether outputs see the attention after their step, or before it.

    Returns:
        Hidden states (T, B, N), contexts (T, B, C) and attention (T, B, S) that the outputs see;
        no gradient flows into the attention as returned.
    """
    parameters = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh, query)
    seen = (source.keys, source.values, source.mask, source.v)
    apply: Any = _AttentiveGru.apply
    hidden, contexts, attention = apply(embedded, initial, *seen, *parameters, updated)
    return hidden, contexts, attention


class _AttentiveGru(Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        embedded, initial, keys, values, mask, v, *parameters, updated = arguments
        low = product_dtype(initial)
        with torch.autocast(initial.device.type, enabled=False):
            weights = _arrange(parameters, low=low, words=embedded.size(2))
            steps = choose_elementwise(initial, low=low)
            source = AttentionMemory(
                keys=steps.prepare_keys(keys),
                values=values.contiguous(),
                mask=mask.contiguous(),
                v=v,
            )
            tape = _tape_for(embedded, initial, source=source, weights=weights)
            _attend_all(tape, source=source, weights=weights, updated=updated)
        ctx.kept = (tape, source, weights, updated)
        T, first = len(embedded), int(updated)
        attention = tape.attention[first : T + first]
        ctx.mark_non_differentiable(attention)
        return tape.hidden[1:], tape.contexts[first : T + first], attention

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        tape, source, weights, updated = ctx.kept
        with torch.autocast(tape.hidden.device.type, enabled=False):
            return (
                *_attend_back(grads, tape=tape, source=source, weights=weights, updated=updated),
            )


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of the decoder's recurrence, in the precision of products.

    Attributes:
        inputs: of word and context (3N, I); gates r, z, n.
        contexts: of the context, gates n, r, z (3N, C).
        state: of the state, recurrent gates and query in one (3N + A, N).
        bias: of the word (3N,), with the state's for r and z.
        bias_n: of the state's part of the candidate (1, N), in full precision.
    """

    inputs: Tensor
    contexts: Tensor
    state: Tensor
    bias: Tensor
    bias_n: Tensor


@dataclass(frozen=True, kw_only=True)
class AttentiveTape:
    """What the forward pass keeps for the backward one.

    Of the gates' gradients one row holds n | r | z | n·r | query (4N + A), in which n, r, z face
    the inputs and r, z, n·r, query the state: both are slices of it.

    Attributes:
        inputs: words and contexts (T, B, I), in the precision of products.
        hidden: s_0 … s_T (T + 1, B, N).
        hidden_low: the same in the precision of products; may be the same tensor.
        gates: r, z, n, and the state's part of n (T, B, 4N).
        contexts: c_0 … c_T (T + 1, B, C).
        attention: (T + 1, B, S).
        from_state: recurrent gates and queries (T + 1, B, 3N + A).
    """

    inputs: Tensor
    hidden: Tensor
    hidden_low: Tensor
    gates: Tensor
    contexts: Tensor
    attention: Tensor
    from_state: Tensor


def _arrange(parameters: Sequence[Tensor], *, low: torch.dtype, words: int) -> Weights:
    """Arrange the cell's weights and biases, the query's weight for the loops."""
    w_ih, w_hh, b_ih, b_hh, query = parameters
    inputs = w_ih.to(low)
    bias, bias_n = fold_biases(b_ih, b_hh)
    return Weights(
        inputs=inputs,
        contexts=inputs[:, words:].roll(w_hh.size(1), 0),
        state=torch.cat([w_hh.to(low), query.to(low)]),
        bias=bias.to(low),
        bias_n=bias_n[None].contiguous(),
    )


def _tape_for(
    embedded: Tensor, initial: Tensor, *, source: AttentionMemory, weights: Weights
) -> AttentiveTape:
    """Make the tape's buffers, with the words and the first state in them."""
    T, B, E = embedded.size()
    N, low = initial.size(1), weights.inputs.dtype
    width, S, C = weights.inputs.size(1), source.keys.size(1), source.values.size(2)
    tape = AttentiveTape(
        inputs=initial.new_empty(T, B, width, dtype=low),
        hidden=(hidden := initial.new_empty(T + 1, B, N)),
        hidden_low=hidden if low == hidden.dtype else hidden.new_empty(T + 1, B, N, dtype=low),
        gates=initial.new_empty(T, B, 4 * N),
        contexts=initial.new_zeros(T + 1, B, C),
        attention=initial.new_zeros(T + 1, B, S),
        from_state=initial.new_empty(T + 1, B, len(weights.state), dtype=low),
    )
    tape.inputs[:, :, :E] = embedded
    tape.hidden[0] = initial
    if tape.hidden_low is not tape.hidden:
        tape.hidden_low[0] = initial
    return tape


def _attend_all(
    tape: AttentiveTape, *, source: AttentionMemory, weights: Weights, updated: bool
) -> None:
    """Fill the tape."""
    T, B, width = tape.inputs.size()
    N, E = tape.hidden.size(2), width - tape.contexts.size(2)
    steps = choose_elementwise(tape.hidden, low=tape.inputs.dtype)
    words = tape.inputs.view(T * B, width)[:, :E]
    from_words = torch.addmm(weights.bias, words, weights.inputs[:, :E].t()).view(T, B, 3 * N)
    from_context = tape.inputs.new_empty(B, 3 * N)
    state_weight, context_weight = weights.state.t(), weights.inputs[:, E:].t()
    for i in range(T + updated):
        torch.mm(tape.hidden_low[i], state_weight, out=tape.from_state[i])
        steps.attend(
            tape.from_state[i, :, 3 * N :],
            source,
            weights=tape.attention[i],
            context=tape.contexts[i],
            context_low=tape.inputs[i, :, E:] if i < T else None,
        )
        if i == T:
            break
        torch.mm(tape.inputs[i, :, E:], context_weight, out=from_context)
        steps.gates(
            from_words[i],
            contexts=from_context,
            state=tape.from_state[i, :, : 3 * N],
            bias_n=weights.bias_n,
            hidden=tape.hidden[i],
            mask=None,
            gates=tape.gates[i],
            out=tape.hidden[i + 1],
            out_low=tape.hidden_low[i + 1],
        )


def _attend_back(
    grads: Sequence[Tensor],
    *,
    tape: AttentiveTape,
    source: AttentionMemory,
    weights: Weights,
    updated: bool,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of all that `_AttentiveGru.forward` was given, in its order."""
    hidden_grads, context_grads, _ = grads
    T, B, width = tape.inputs.size()
    N, C = tape.hidden.size(2), tape.contexts.size(2)
    steps = choose_elementwise(tape.hidden, low=tape.inputs.dtype)
    back = tape.from_state.new_empty(T + 1, B, N + len(weights.state))
    back[T].zero_()
    contexts = torch.zeros_like(tape.contexts)  # c_i's gradients, whole
    contexts[int(updated) : T + int(updated)] = context_grads
    keys_sum, v_rows = torch.zeros_like(source.keys), source.keys.new_zeros(B, len(source.v))
    grad = tape.hidden.new_zeros(B, N)  # of the state at hand
    from_state, from_context = back.new_empty(B, N), back.new_empty(B, C)
    for i in reversed(range(T + updated)):
        if i < T:
            grad += hidden_grads[i]
            steps.gates_backward(
                grad,
                gates=tape.gates[i],
                hidden=tape.hidden[i],
                mask=None,
                out=back[i, :, : 4 * N],
            )
            torch.mm(back[i, :, : 3 * N], weights.contexts, out=from_context)
            contexts[i] += from_context
        steps.attend_backward(
            tape.from_state[i, :, 3 * N :],
            source,
            weights=tape.attention[i],
            context_grad=contexts[i],
            query_grad=back[i, :, 4 * N :],
            keys_sum=keys_sum,
            v_rows=v_rows,
        )
        torch.mm(back[i, :, N:], weights.state, out=from_state)
        grad += from_state
    keys_grad = keys_sum.mul_(source.v)
    values_grad = torch.bmm(tape.attention.permute(1, 2, 0), contexts.transpose(0, 1))
    embedded_grad = torch.mm(
        back[:T].view(T * B, -1)[:, : 3 * N],
        weights.inputs[:, : width - C].roll(N, 0),
    ).view(T, B, width - C)
    flowing = (embedded_grad, grad, keys_grad, values_grad, None, v_rows.sum(0))
    return (*flowing, *_weight_grads(back, tape=tape, full=grad.dtype), None)


def _weight_grads(back: Tensor, *, tape: AttentiveTape, full: torch.dtype) -> tuple[Tensor, ...]:
    """Return the gradients of the cell's weights and biases and of the query's weight."""
    T, B, width = tape.inputs.size()
    N = tape.hidden.size(2)
    rows, row_size = (T + 1) * B, back.size(2)
    flat = back.view(rows, row_size)
    gates = flat[: T * B]
    inputs = tape.inputs.view(T * B, width)
    w_ih = inputs.new_empty(3 * N, width)
    torch.mm(gates[:, N : 3 * N].t(), inputs, out=w_ih[: 2 * N])
    torch.mm(gates[:, :N].t(), inputs, out=w_ih[2 * N :])
    state = torch.mm(flat[:, N:].t(), tape.hidden_low.view(rows, N)).to(full)  # (3N + A, N)
    sums = gates[:, : 4 * N].sum(0, dtype=full)
    b_ih = torch.cat([sums[N : 3 * N], sums[:N]])
    return w_ih.to(full), state[: 3 * N], b_ih, sums[N:], state[3 * N :]
