"""A whole beam search of a batch in compiled code, on a CPU.

`dlcli.nmt.search` is the form for every device, and what this is held against. Here a step is one
call on one thread, so that several batches can be translated at the same time; products of words
are kept in a table, those of the encoder's states are taken once a sentence, and hypotheses that go
on from the same one share its products.

Legend: B sentences, S source length, E embedding, N hidden, C context, A attention size, R
readout, X what words and contexts add to: the 3N gates and the readout's units; V vocabulary; of a
product M outputs, K inputs, P panels.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.nmt.fast.compiling import Library, find_library
from dlcli.nmt.fast.kernels import CompiledElementwise, fold_biases, native
from dlcli.nmt.search import NEVER, Beam, Hypothesis
from dlcli.nmt.tokenizer import BOS, EOS

if TYPE_CHECKING:
    from dlcli.nmt.networks import AttentionGru, DecoderState, Memory

WIDTH = 64
"""Outputs of a product come in multiples of it."""
PRODUCTS = ("word", "context", "state", "query", "output")
"""Of the decoder, see `Network` of `decoding.cpp`."""
LARGEST_TABLE = 2**28
"""Most numbers that the table of words may have; only those of words that occur take memory."""


def describe_library() -> dict[str, object]:
    """Say what is compiled on this machine, for `dl env`: in which form, or why not."""
    library, problem = find_library()
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return {
        "compiled_form": "none" if library is None else library.form,
        "compiled_search": {
            name: library is not None and panel_width(library, low=low) > 0
            for name, low in kinds.items()
        },
        "compiled_search_problem": problem,
    }


def panel_width(library: Library, *, low: torch.dtype) -> int:
    """Return how many outputs a panel has; 0 where there are no products in this precision."""
    panel, bfloats = ctypes.c_int64(), ctypes.c_int64()
    library.call("dl_describe", 0, 1, ctypes.byref(panel), ctypes.byref(bfloats))
    known = low == torch.float32 or (low == torch.bfloat16 and bfloats.value)
    return panel.value if known else 0


def compile_decoder(model: AttentionGru, *, low: torch.dtype) -> CompiledDecoder | None:
    """Arrange a model's weights; None where there is no compiled form for them.

    Args:
        model: as it will stay.
        low: what the decoder multiplies in; sums are float32.
    """
    library, _ = find_library()
    operations, V = native(model.output_bias, low=low), model.vocabulary
    width = 3 * model.decoder.cell.hidden_size + model.readout.linear.out_features
    if library is None or operations is None or not panel_width(library, low=low):
        return None
    if len(NEVER) >= V or V * width > LARGEST_TABLE:
        return None
    return CompiledDecoder(model, operations=operations, library=library, low=low)


class CompiledDecoder:
    """A model's decoder, arranged once for many batches; a `FastSearch`.

    Args:
        model: as it will stay.
        operations: that prepare the keys.
        library: see `decoding.cpp`.
        low: what the decoder multiplies in.
    """

    def __init__(
        self,
        model: AttentionGru,
        *,
        operations: CompiledElementwise,
        library: Library,
        low: torch.dtype,
    ) -> None:
        self._operations, self._library, self._low = operations, library, low
        panel = panel_width(library, low=low)
        weights = arrange_weights(model)
        self._products = {
            name: Panels(weight, bias, low=low, width=panel)
            for name, (weight, bias) in weights.items()
        }
        cell, attention, V = model.decoder.cell, model.decoder.attention, model.vocabulary
        v = model.output_bias.new_zeros(0) if attention is None else attention.v
        self._tensors = {
            "bias_n": fold_biases(cell.bias_ih, cell.bias_hh)[1].detach().contiguous(),
            "v": v.detach().contiguous(),
            "embeddings": model.target_table.weight.detach().contiguous(),
            "table": model.output_bias.detach().new_empty(V, self._products["word"].shape[0]),
            "known": torch.zeros(V, dtype=torch.uint8),
            "never": torch.tensor(NEVER),
        }
        self._network = Network(
            V=V,
            N=cell.hidden_size,
            A=len(v),
            R=self._products["output"].shape[1],
            maxout=int(model.readout.maxout),
            updated=int(model.decoder.attention_query == "updated"),
            nevers=len(NEVER),
            **{name: panels.pointers() for name, panels in self._products.items()},
            **{name: tensor.data_ptr() for name, tensor in self._tensors.items()},
        )

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
        B, S = memory.mask.shape
        tensors = {
            "values": memory.values.float().contiguous(),
            "hidden": state.hidden.float().contiguous(),
            "contexts": state.context.float().contiguous(),
            "mask": memory.mask.contiguous(),
            "limit": limit.to(torch.int64).contiguous(),
        }
        if self._network.A:
            tensors["keys"] = self._operations.prepare_keys(memory.keys.float())
        batch = Batch(
            B=B,
            S=S,
            beam_size=beam.size,
            n_best=beam.n_best,
            first=BOS,
            last=EOS,
            length_penalty=beam.length_penalty,
            **{name: tensor.data_ptr() for name, tensor in tensors.items()},
        )
        walk, live, call = ctypes.c_void_p(), ctypes.c_int64(1), self._library.call
        pointers = map(ctypes.byref, (self._network, batch, walk))
        call("dl_search_begin", int(self._low == torch.bfloat16), 1, *pointers)
        try:
            call("dl_search_step", 0, 1, walk, 1, ctypes.byref(live))
            while live.value:
                between()
                call("dl_search_step", 0, 1, walk, 1, ctypes.byref(live))
            return self._ranked(walk, sentences=B)
        finally:
            call("dl_search_end", 0, 1, walk)

    def _ranked(self, walk: ctypes.c_void_p, *, sentences: int) -> list[list[Hypothesis]]:
        """Return the n best of each sentence, finished ones first, by falling score."""
        counts, total = torch.empty(sentences, dtype=torch.int64), torch.empty(1, dtype=torch.int64)
        self._library.call("dl_search_sizes", 0, 1, walk, sentences, counts, total)
        M = int(counts.sum())
        log_probs, scores = torch.empty(2, M).unbind()
        finished, lengths = torch.empty(M, dtype=torch.bool), torch.empty(M, dtype=torch.int64)
        tokens = torch.empty(int(total), dtype=torch.int64)
        columns = (log_probs, scores, finished, lengths)
        self._library.call("dl_search_result", 0, 1, walk, sentences, *columns, tokens)
        ids = iter(tokens.tolist())
        made = (
            Hypothesis(
                ids=tuple(next(ids) for _ in range(length)),
                log_prob=log_prob,
                score=score,
                finished=ended,
            )
            for log_prob, score, ended, length in zip(*(c.tolist() for c in columns), strict=True)
        )
        return [[next(made) for _ in range(count)] for count in counts.tolist()]


def arrange_weights(model: AttentionGru) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Return weights and biases by what they multiply; see `Network` of `decoding.cpp`."""
    cell, readout, attention = model.decoder.cell, model.readout.linear, model.decoder.attention
    E, N = model.target_table.embedding_dim, cell.hidden_size
    of_word, of_context = cell.weight_ih.tensor_split([E], dim=1)
    from_state, from_word, from_context = readout.weight.tensor_split([N, N + E], dim=1)
    bias, _ = fold_biases(cell.bias_ih, cell.bias_hh)
    queries = [] if attention is None else [attention.query.weight]
    return {
        "word": (torch.cat([of_word, from_word]), torch.cat([bias, readout.bias])),
        "context": (torch.cat([of_context, from_context]), None),
        "state": (cell.weight_hh, None),
        "query": (torch.cat([*queries, from_state]), None),
        "output": (model.output_weight, model.output_bias),
    }


class Panels:
    """The weights of one product, arranged as `panels.h` multiplies rows with them.

    Args:
        weight: (M, K) float32.
        bias: (M,) or None.
        low: the precision to multiply in; two bfloat16 inputs share the place of a float.
        width: outputs of a panel.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, low: torch.dtype, width: int
    ) -> None:
        self.shape = M, K = weight.shape
        shared = 4 // low.itemsize
        whole = F.pad(weight.detach().to(low), (0, -K % shared, 0, -M % WIDTH)).view(torch.float32)
        self._weights = (
            whole.view(-1, width, whole.size(1)).transpose(1, 2).contiguous()
        )  # (P, K, width)
        # Outputs beyond the last have no probability, where they are tokens.
        beyond = (0, -M % WIDTH)
        self._bias = None if bias is None else F.pad(bias.detach(), beyond, value=-math.inf)

    def pointers(self) -> PanelsPointers:
        """Return where they lie; they stay there as long as this object lives."""
        bias = 0 if self._bias is None else self._bias.data_ptr()
        return PanelsPointers(*self.shape, self._weights.data_ptr(), bias)


def _fields(sizes: str, pointers: str) -> list[tuple[str, type]]:
    longs = [(name, ctypes.c_long) for name in sizes.split()]
    return [*longs, *((name, ctypes.c_void_p) for name in pointers.split())]


class PanelsPointers(ctypes.Structure):
    """`Panels` of `panels.h`."""

    _fields_ = _fields("outputs inputs", "weights bias")


class Network(ctypes.Structure):
    """`Network` of `decoding.cpp`: a decoder, as it stays from batch to batch."""

    _fields_ = [
        *_fields("V N A R maxout updated", ""),
        *((name, PanelsPointers) for name in PRODUCTS),
        *_fields("", "bias_n v embeddings table known never"),
        ("nevers", ctypes.c_long),
    ]


class Batch(ctypes.Structure):
    """`Batch` of `decoding.cpp`: what is to be translated, and how."""

    _fields_ = [
        *_fields("B S", "keys values hidden contexts mask limit"),
        *_fields("beam_size n_best first last", ""),
        ("length_penalty", ctypes.c_float),
    ]
