"""The decoder's recurrence with its attention as one function with a gradient of its own.

It computes what `Decoder.unroll` does with additive attention, and is held against it. It is faster
since each step is two products, one of the state (recurrent gates and query together) and one of
the context, with everything else elementwise; and since the gradient of every weight is one
product over all steps after the loop. Products are bfloat16 under autocast; the state, the
attention and all sums stay in the weights' precision.

Time comes first here, so that a step is contiguous. Of the gates' gradients one row holds

    n | r | z | n·r | query        (4N + A)

in which n, r, z face the inputs and r, z, n·r, query the state: both are slices of it.

Legend: B batch, S source length, T target length, E embedding, C = 2H context,
N decoder hidden, A attention size, I = E + C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from dlcli.nmt.fast.kernels import choose_elementwise, native
from dlcli.nmt.gru import fold_biases, product_dtype


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of the recurrence, in the precision of products.

    Attributes:
        inputs: of word and context (3N, I); gates r, z, n.
        contexts: of the context, gates n, r, z (3N, C).
        state: of the state, recurrent gates and query in one (3N + A, N).
        bias: of the word (3N,), with the state's for r and z.
        bias_n: of the state's part of the candidate (1, N), in full precision.
        v: of the attention's scores (A,), in full precision.
    """

    inputs: Tensor
    contexts: Tensor
    state: Tensor
    bias: Tensor
    bias_n: Tensor
    v: Tensor


@dataclass(frozen=True, kw_only=True)
class Tape:
    """What the forward pass keeps for the backward one.

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


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is looked at: keys (B, S, A), values (B, S, C), mask (B, S)."""

    keys: Tensor
    values: Tensor
    mask: Tensor


def attentive_gru(
    embedded: Tensor,
    *,
    initial: Tensor,
    source: Source,
    cell: nn.GRUCell,
    query: Tensor,
    v: Tensor,
    updated: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Consume given words.

    Args:
        embedded: (T, B, E).
        initial: s_0 (B, N).
        source: in full precision.
        cell: the GRU's parameters.
        query: the attention's matrix (A, N).
        v: (A,).
        updated: whether outputs see the attention after their step, or before it.

    Returns:
        Hidden states (T, B, N), contexts (T, B, C) and attention (T, B, S) that the outputs see;
        no gradient flows into the attention as returned.
    """
    parameters = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh, query, v)
    apply: Any = _AttentiveGru.apply
    hidden, contexts, attention = apply(
        embedded, initial, source.keys, source.values, source.mask, *parameters, updated
    )
    return hidden, contexts, attention


class _AttentiveGru(Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        embedded, initial, keys, values, mask, *parameters, updated = arguments
        low = product_dtype(initial)
        with torch.autocast(initial.device.type, enabled=False):
            weights = _prepare(parameters, low=low, words=embedded.size(2))
            steps = choose_elementwise(initial, low=low)
            source = Source(
                keys=steps.bend(keys), values=values.contiguous(), mask=mask.contiguous()
            )
            tape = _start(embedded, initial, source=source, weights=weights)
            _run(tape, source=source, weights=weights, updated=updated)
        ctx.kept = (tape, source, weights, updated)
        T, first = len(embedded), int(updated)
        attention = tape.attention[first : T + first]
        ctx.mark_non_differentiable(attention)
        return tape.hidden[1:], tape.contexts[first : T + first], attention

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        tape, source, weights, updated = ctx.kept
        with torch.autocast(tape.hidden.device.type, enabled=False):
            return (*_run_back(grads, tape=tape, source=source, weights=weights, updated=updated),)


def _prepare(parameters: Sequence[Tensor], *, low: torch.dtype, words: int) -> Weights:
    """Arrange the cell's weights and biases, the query's weight and v for the loops."""
    w_ih, w_hh, b_ih, b_hh, query, v = parameters
    inputs = w_ih.to(low)
    bias, bias_n = fold_biases(b_ih, b_hh)
    return Weights(
        inputs=inputs,
        contexts=inputs[:, words:].roll(w_hh.size(1), 0),
        state=torch.cat([w_hh.to(low), query.to(low)]),
        bias=bias.to(low),
        bias_n=bias_n[None].contiguous(),
        v=v,
    )


def _start(embedded: Tensor, initial: Tensor, *, source: Source, weights: Weights) -> Tape:
    """Make the tape's buffers, with the words and the first state in them."""
    T, B, E = embedded.size()
    N, low = initial.size(1), weights.inputs.dtype
    width, S, C = weights.inputs.size(1), source.keys.size(1), source.values.size(2)
    tape = Tape(
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


def _run(tape: Tape, *, source: Source, weights: Weights, updated: bool) -> None:
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
            keys=source.keys,
            v=weights.v,
            values=source.values,
            mask=source.mask,
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


def _run_back(
    grads: Sequence[Tensor], *, tape: Tape, source: Source, weights: Weights, updated: bool
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
    keys_sum, v_rows = torch.zeros_like(source.keys), source.keys.new_zeros(B, len(weights.v))
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
                gates_grad=back[i, :, : 4 * N],
            )
            torch.mm(back[i, :, : 3 * N], weights.contexts, out=from_context)
            contexts[i] += from_context
        steps.attend_backward(
            tape.from_state[i, :, 3 * N :],
            keys=source.keys,
            v=weights.v,
            values=source.values,
            weights=tape.attention[i],
            context_grad=contexts[i],
            query_grad=back[i, :, 4 * N :],
            keys_sum=keys_sum,
            v_rows=v_rows,
        )
        torch.mm(back[i, :, N:], weights.state, out=from_state)
        grad += from_state
    keys_grad = keys_sum.mul_(weights.v)
    values_grad = torch.bmm(tape.attention.permute(1, 2, 0), contexts.transpose(0, 1))
    embedded_grad = torch.mm(
        back[:T].view(T * B, -1)[:, : 3 * N],
        weights.inputs[:, : width - C].roll(N, 0),
    ).view(T, B, width - C)
    flowing = (embedded_grad, grad, keys_grad, values_grad, None)
    return (*flowing, *_weight_grads(back, tape=tape, full=grad.dtype), v_rows.sum(0), None)


def _weight_grads(back: Tensor, *, tape: Tape, full: torch.dtype) -> tuple[Tensor, ...]:
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


# -- The vocabulary's softmax and its loss in one: logits exist for some rows at a time only
# The gradient of the logits, softmax minus smoothed target, is written over the logits in the
# forward pass, and the three products it goes into are taken there and then; the backward pass
# only scales them. What `smoothed_cross_entropy` of `F.linear` does, which it is held against.
#
# Legend: M target words, R features, V vocabulary.

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
