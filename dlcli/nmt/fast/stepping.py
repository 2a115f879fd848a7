"""A search whose steps are compiled, where a search as a whole is not (`decoding.py`).

`TranslationModel.step` is the plain form, and what this is held against. Here weights are cast and
arranged once for many sentences, the source is looked at without a copy of it for each hypothesis,
and what only products read is stored in their precision.

In 8 bits, weights have one scale for each output and rows one scale each, found as they come; sums
are exact, so a row's result does not depend on its neighbours (as in Marian and CTranslate2).

Legend: B sentences, L live hypotheses, S source length, C context, N decoder hidden, M outputs and
I inputs of a product, V vocabulary, K tokens wanted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.nmt.fast.compiling import Library, load_library
from dlcli.nmt.fast.kernels import AttentionMemory, CompiledElementwise, fold_biases, native
from dlcli.nmt.search import NEVER, Beam, Hypothesis, beam_search, best_tokens

if TYPE_CHECKING:
    from dlcli.nmt.networks import AttentionGru, DecoderState, Memory

LARGEST = 127
"""Of the 8-bit integers that are used: as many below zero as above."""

Product = Callable[[Tensor], Tensor]
"""Maps rows (L, I) to (L, M)."""


def compile_steps(
    model: AttentionGru, *, low: torch.dtype, int8: bool = False
) -> CompiledSteps | None:
    """Arrange a model's weights; None where there is no compiled form for them.

    Args:
        model: as it will stay.
        low: the precision of products, where they are not in 8 bits.
        int8: multiply 8-bit integers.
    """
    low = torch.float32 if int8 else low
    operations, library = native(model.output_bias, low=low), load_library("searching")
    if operations is None or library is None or (int8 and not int8_is_exact()):
        return None
    return CompiledSteps(model, operations=operations, library=library, low=low, int8=int8)


class CompiledSteps:
    """The decoder's weights, arranged for steps; a `FastSearch`.

    Args:
        model: as it will stay.
        operations: what comes between products.
        library: `searching.cpp`.
        low: the precision of what only products read.
        int8: whether products are of 8-bit integers.
    """

    one_thread = False

    def __init__(
        self,
        model: AttentionGru,
        *,
        operations: CompiledElementwise,
        library: Library,
        low: torch.dtype,
        int8: bool,
    ) -> None:
        decoder, readout = model.decoder, model.readout
        make: Callable[[Tensor, Tensor | None], Product] = partial(low_product, low=low)
        if int8:
            make = partial(Int8Product, library=library)
        bias, bias_n = fold_biases(decoder.cell.bias_ih, decoder.cell.bias_hh)
        self.attention, self.operations, self.library = decoder.attention, operations, library
        self.low, self.updated = low, decoder.attention_query == "updated"
        self.table, self.activate = model.target_table.weight, readout.activate
        self.inputs = make(decoder.cell.weight_ih, bias)
        self.state = make(decoder.cell.weight_hh, None)
        self.query = None if self.attention is None else make(self.attention.query.weight, None)
        self.features = make(readout.linear.weight, readout.linear.bias)
        self.output = make(model.output_weight, model.output_bias)
        self.bias_n = bias_n[None].contiguous()
        """(1, N), the state's bias of n, which the gate r scales."""

    def __call__(
        self,
        memory: Memory,
        *,
        state: DecoderState,
        limit: Tensor,
        beam: Beam,
        between: Callable[[], object],
    ) -> list[list[Hypothesis]]:
        """Search, see `FastSearch`."""
        step = Steps(self, memory)

        def best(
            previous: Tensor, state: DecoderState, owner: Tensor, most: int
        ) -> tuple[Tensor, Tensor, DecoderState]:
            with torch.autocast("cpu", enabled=False):
                features, following = step(previous, state, owner=owner)
                return *self.best(features, most=most), following

        return beam_search(best, state=state, limit=limit, beam=beam, between=between)

    def best(self, features: Tensor, *, most: int) -> tuple[Tensor, Tensor]:
        """Do what `best_tokens` of the logits does, from the deep output (L, R)."""
        V = len(self.table)
        if most + len(NEVER) > V:
            return best_tokens(self.output(features), most=most)
        if isinstance(self.output, Int8Product):
            return self.output.best(features, most=most)
        logits = self.output(features)
        values = logits.new_empty(len(logits), most, dtype=torch.float32)
        tokens = torch.empty_like(values, dtype=torch.int64)
        self.library.call(
            "dl_best_tokens",
            *(int(logits.dtype == torch.bfloat16), torch.get_num_threads()),
            *(*logits.shape, most, logits, torch.tensor(NEVER), len(NEVER), values, tokens),
        )
        return values, tokens


class Steps:
    """Steps through one batch.

    Args:
        weights: the model's.
        memory: of B sentences.
    """

    def __init__(self, weights: CompiledSteps, memory: Memory) -> None:
        self._weights, self._memory = weights, memory
        self._source = None
        if weights.attention is not None:
            self._source = AttentionMemory(
                keys=weights.operations.prepare_keys(memory.keys),
                values=memory.values.contiguous(),
                mask=memory.mask.contiguous(),
                v=weights.attention.v.detach().contiguous(),
            )

    def __call__(
        self, previous: Tensor, state: DecoderState, *, owner: Tensor
    ) -> tuple[Tensor, DecoderState]:
        """Consume words (L,); return the deep output (L, R) and the state to go on with."""
        weights, low = self._weights, self._weights.low
        words, seen = weights.table[previous].to(low), state.context.to(low)
        hidden, hidden_low = self._advance(torch.cat([words, seen], dim=1), state.hidden)
        following = self._look(hidden, hidden_low, owner=owner, state=state)
        if weights.updated:
            seen = following.context
        units = weights.features(torch.cat([hidden_low, words, seen], dim=1))
        return weights.activate(units), following

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

    def _look(
        self, hidden: Tensor, hidden_low: Tensor, *, owner: Tensor, state: DecoderState
    ) -> DecoderState:
        """Attend from L states; the context is in the precision of products."""
        weights, low, source = self._weights, self._weights.low, self._source
        L, (_, S, C) = len(hidden), self._memory.values.shape
        if source is None or weights.query is None:
            summary, nowhere = self._memory.summary[owner].to(low), hidden.new_zeros(L, S)
            return dataclasses.replace(state, hidden=hidden, context=summary, attention=nowhere)
        attention, context = hidden.new_empty(L, S), hidden.new_empty(L, C)
        context_low = context if low == context.dtype else torch.empty_like(context, dtype=low)
        weights.operations.attend(
            weights.query(hidden_low),
            source,
            owner=owner.contiguous(),
            weights=attention,
            context=context,
            context_low=None if context_low is context else context_low,
        )
        return dataclasses.replace(state, hidden=hidden, context=context_low, attention=attention)


def low_product(weight: Tensor, bias: Tensor | None, *, low: torch.dtype) -> Product:
    """Return a product in one floating-point precision, of weights (M, I) and a bias (M,)."""
    return partial(F.linear, weight=weight.to(low), bias=None if bias is None else bias.to(low))


class Int8Product:
    """A product of 8-bit integers, of float32 rows on a CPU.

    Args:
        weight: (M, I).
        bias: (M,) or None.
        library: `searching.cpp`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, library: Library) -> None:
        weight = weight.detach().float()
        steps, self._columns = quantise_weight(weight)
        self._weight = steps.t().contiguous()
        self._bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().float()
        self._library = library

    def __call__(self, rows: Tensor) -> Tensor:
        """Map (L, I) to (L, M)."""
        products, scales = self._multiply(rows)
        out = torch.empty_like(products, dtype=torch.float32)
        given = (products, scales, self._columns, self._bias)
        self._call("dl_rescale", *products.shape, *given, out)
        return out

    def best(self, rows: Tensor, *, most: int) -> tuple[Tensor, Tensor]:
        """Do what `best_tokens` of the products does, without writing them out in float32."""
        products, scales = self._multiply(rows)
        values = torch.empty(len(rows), most)
        tokens = torch.empty_like(values, dtype=torch.int64)
        given = (products, scales, self._columns, self._bias, torch.tensor(NEVER), len(NEVER))
        self._call("dl_best_scaled", *products.shape, most, *given, values, tokens)
        return values, tokens

    def _multiply(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return products (L, M) int32, and what each row's steps are worth (L,)."""
        rows = rows.to(torch.float32).contiguous()
        integers, scales = torch.empty_like(rows, dtype=torch.int8), rows.new_empty(len(rows))
        self._call("dl_quantise", *rows.shape, rows, integers, scales)
        return torch._int_mm(integers, self._weight), scales

    def _call(self, name: str, *arguments: object) -> None:
        self._library.call(name, 0, torch.get_num_threads(), *arguments)


@cache
def int8_is_exact() -> bool:
    """Say whether this processor adds products of 8-bit integers up without cutting them off.

    Without VNNI instructions pairs of them are added in 16 bits, which are too few.
    """
    inputs = 640
    rows = torch.full((5, inputs), LARGEST, dtype=torch.int8, device="cpu")
    found = torch._int_mm(rows, rows[:1].expand(33, inputs).t().contiguous())
    return bool((found == inputs * LARGEST**2).all())


def quantise_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Turn weights (M, I) into int8 (M, I) and what each output's steps are worth (M,)."""
    columns = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / LARGEST
    steps = (weight / columns[:, None]).round().clamp(-LARGEST, LARGEST)
    return steps.to(torch.int8), columns
