"""The decoder's step as a search takes it: weights prepared once, what is between products fused.

`Translation.step` is the plain form, for every device, and what this is held against. The compiled
form casts and arranges weights once for many sentences, looks at the source without a copy of it
for each hypothesis, and stores in the precision of products what only products read.

Legend: B sentences, L live hypotheses, S source length, C context, N decoder hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from dlcli.nmt.decoder import Memory, State
from dlcli.nmt.fast.kernels import NativeElementwise, native
from dlcli.nmt.fast.products import (
    Int8Product,
    LowProduct,
    Product,
    Scaled,
    int8_is_exact,
    native_search,
)
from dlcli.nmt.gru import fold_biases, product_dtype

if TYPE_CHECKING:
    from dlcli.nmt.model import Translation

Logits = Tensor | Scaled


class Stepper(Protocol):
    """One word further, for hypotheses of sentences."""

    def __call__(self, previous: Tensor, state: State, *, owner: Tensor) -> tuple[Logits, State]:
        """Consume one word (L,) and score the next; see `Translation.step`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class StepWeights:
    """The decoder's weights, arranged for steps.

    Attributes:
        operations: what comes between the products.
        low: the precision of what only products read.
        inputs: of word and context, gates r, z, n with all biases but the state's of n.
        state: of the state, gates r, z, n without biases.
        query: of the attention; None without attention.
        features: of the deep output.
        output: of the softmax.
        bias_n: (1, N), the state's bias of n, which the gate r scales.
    """

    operations: NativeElementwise
    low: torch.dtype
    inputs: Product
    state: Product
    query: Product | None
    features: Product
    output: Product
    bias_n: Tensor


def prepare_weights(
    model: Translation, *, low: torch.dtype, int8: bool = False
) -> StepWeights | None:
    """Arrange a model's weights; None where there is no compiled form for them.

    Args:
        model: as it will stay.
        low: the precision of products, where they are not in 8 bits.
        int8: multiply 8-bit integers.
    """
    like = model.output_bias
    low = torch.float32 if int8 else low
    operations, searching = native(like, low=low), native_search(like)
    if operations is None or searching is None or not model.fused:
        return None
    if int8 and not int8_is_exact():
        return None
    make: Callable[[Tensor, Tensor | None], Product]
    make = partial(Int8Product, operations=searching) if int8 else partial(LowProduct, low=low)
    cell, attention, readout = model.decoder.cell, model.decoder.attention, model.readout.linear
    bias, bias_n = fold_biases(cell.bias_ih, cell.bias_hh)
    return StepWeights(
        operations=operations,
        low=low,
        inputs=make(cell.weight_ih, bias),
        state=make(cell.weight_hh, None),
        query=None if attention is None else make(attention.query.weight, None),
        features=make(readout.weight, readout.bias),
        output=make(model.output_weight, model.output_bias),
        bias_n=bias_n[None].contiguous(),
    )


def make_stepper(
    model: Translation, memory: Memory, *, weights: StepWeights | None = None
) -> Stepper:
    """Return the fastest form that there is here.

    Args:
        model: in evaluation mode; its weights may not change while the stepper is in use.
        memory: of B sentences.
        weights: the model's, prepared before; by default they are prepared now, in the precision
            that products have here.
    """
    if torch.is_grad_enabled():
        return _PlainStepper(model, memory)
    weights = weights or prepare_weights(model, low=product_dtype(memory.values))
    if weights is None:
        return _PlainStepper(model, memory)
    return _CompiledStepper(model, memory, weights=weights)


class _PlainStepper:
    def __init__(self, model: Translation, memory: Memory) -> None:
        self._model, self._memory = model, memory

    def __call__(self, previous: Tensor, state: State, *, owner: Tensor) -> tuple[Logits, State]:
        step = self._model.step(previous, state, self._memory, owner=owner)
        return step.logits, step.state


class _CompiledStepper:
    def __init__(self, model: Translation, memory: Memory, *, weights: StepWeights) -> None:
        attention = model.decoder.attention
        self._weights, self._memory = weights, memory
        self._table, self._activate = model.target_table.weight, model.readout.activate
        self._updated = model.decoder.attention_query == "updated"
        self._values, self._mask = memory.values.contiguous(), memory.mask.contiguous()
        self._keys, self._v = memory.keys, memory.keys
        if attention is not None:
            self._keys = weights.operations.bend(memory.keys)
            self._v = attention.v.detach().contiguous()

    def __call__(self, previous: Tensor, state: State, *, owner: Tensor) -> tuple[Logits, State]:
        with torch.autocast("cpu", enabled=False):
            return self._step(previous, state, owner=owner)

    def _step(self, previous: Tensor, state: State, *, owner: Tensor) -> tuple[Logits, State]:
        weights, low = self._weights, self._weights.low
        words, seen = self._table[previous].to(low), state.context.to(low)
        hidden, hidden_low = self._advance(torch.cat([words, seen], dim=1), state.hidden)
        following = self._look(hidden, hidden_low, owner=owner)
        if self._updated:
            seen = following.context
        units = weights.features(torch.cat([hidden_low, words, seen], dim=1))
        features = self._activate(units)
        if isinstance(weights.output, Int8Product):
            return weights.output.scaled(features), following
        return weights.output(features), following

    def _advance(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new state (L, N), and its copy for products."""
        weights, low = self._weights, self._weights.low
        L, N = hidden.shape
        out = torch.empty_like(hidden, memory_format=torch.contiguous_format)
        out_low = out if low == out.dtype else torch.empty_like(out, dtype=low)
        weights.operations.gates(
            weights.inputs(inputs),
            contexts=None,
            state=weights.state(hidden.to(low)),
            bias_n=weights.bias_n,
            hidden=hidden.contiguous(),
            mask=None,
            gates=hidden.new_empty(L, 4 * N),
            out=out,
            out_low=out_low,
        )
        return out, out_low

    def _look(self, hidden: Tensor, hidden_low: Tensor, *, owner: Tensor) -> State:
        """Attend from L states; the context is in the precision of products."""
        _, S, C = self._values.shape
        weights, low = self._weights, self._weights.low
        if weights.query is None:
            summary = self._memory.summary[owner].to(low)
            return State(hidden=hidden, context=summary, attention=hidden.new_zeros(len(owner), S))
        attention, context = hidden.new_empty(len(hidden), S), hidden.new_empty(len(hidden), C)
        context_low = context if low == context.dtype else torch.empty_like(context, dtype=low)
        weights.operations.attend(
            weights.query(hidden_low),
            keys=self._keys,
            v=self._v,
            values=self._values,
            mask=self._mask,
            owner=owner.contiguous(),
            weights=attention,
            context=context,
            context_low=None if context_low is context else context_low,
        )
        return State(hidden=hidden, context=context_low, attention=attention)
