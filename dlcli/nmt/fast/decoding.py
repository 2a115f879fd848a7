"""A whole beam search of a batch in compiled code, on a CPU with AVX-512.

`dlcli.nmt.search` is the form for every device, and what this is held against. Here a step is one
call on one thread, so that several batches can be translated at the same time; products of words
are kept in a table, and hypotheses that go on from the same one share its products.

Legend: B sentences, S source length, E embedding, N hidden, C context, A attention size, R
readout, V vocabulary; of a product M outputs, K inputs, P panels of 64 outputs.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.nmt.fast.compiling import Library, load_library, reason
from dlcli.nmt.fast.kernels import CompiledElementwise, fold_biases, native
from dlcli.nmt.fast.stepping import quantise_weight
from dlcli.nmt.search import NEVER, Beam, Hypothesis
from dlcli.nmt.tokenizer import BOS, EOS

if TYPE_CHECKING:
    from dlcli.nmt.networks import AdditiveAttention, AttentionGru, DecoderState, Memory

Kind = Literal["fp32", "bf16", "int8"]
"""What is multiplied; sums are float32, or exact for 8-bit integers."""
KINDS: tuple[Kind, ...] = ("fp32", "bf16", "int8")
"""In the order of their numbers."""
SHARED = {"fp32": 1, "bf16": 2, "int8": 4}
"""How many inputs share 32 bits."""
WIDTH = 64
"""Outputs of a panel."""
PRODUCTS = ("word", "state", "context", "query", "seen", "output")
"""Of the decoder, see `Network` of `decoding.cpp`."""
LARGEST_TABLE = 2**28
"""Most numbers that the table of words may have; only those of words that occur take memory."""


def compiled_kinds() -> tuple[dict[str, bool], str]:
    """Say for which products the search is compiled on this machine, and else why not."""
    found: dict[str, bool] = {kind: decoding_library(kind) is not None for kind in KINDS}
    if any(found.values()):
        return found, ""
    return found, reason("decoding") or "This processor lacks AVX-512."


def decoding_library(kind: Kind) -> Library | None:
    """Return `decoding.cpp`, compiled, where this processor has the instructions; else None."""
    library = load_library("decoding")
    if library is None:
        return None
    found = ctypes.c_int64()
    library.call("dl_has", KINDS.index(kind), 1, ctypes.byref(found))
    return library if found.value else None


def compile_decoder(model: AttentionGru, *, kind: Kind) -> CompiledDecoder | None:
    """Arrange a model's weights; None where there is no compiled form for them.

    Args:
        model: as it will stay.
        kind: what the decoder multiplies.
    """
    attention = model.decoder.attention
    operations = native(model.output_bias, low=torch.float32)
    if operations is None or attention is None:
        return None
    library, V = decoding_library(kind), model.vocabulary
    width = 3 * model.decoder.cell.hidden_size + model.readout.linear.out_features
    if library is None or len(NEVER) >= V or V * width > LARGEST_TABLE:
        return None
    return CompiledDecoder(model, attention, operations=operations, library=library, kind=kind)


class CompiledDecoder:
    """A model's decoder, arranged once for many batches; a `FastSearch`.

    Args:
        model: as it will stay.
        attention: the model's.
        operations: that prepare the keys.
        library: `decoding.cpp`.
        kind: what the decoder multiplies.
    """

    one_thread = True

    def __init__(
        self,
        model: AttentionGru,
        attention: AdditiveAttention,
        *,
        operations: CompiledElementwise,
        library: Library,
        kind: Kind,
    ) -> None:
        self._operations, self._library, self._kind = operations, library, KINDS.index(kind)
        self._products = arrange_products(model, attention, kind=kind)
        cell, V = model.decoder.cell, model.vocabulary
        width = self._products["word"].shape[0]
        self._tensors = {
            "bias_n": fold_biases(cell.bias_ih, cell.bias_hh)[1].detach().contiguous(),
            "v": attention.v.detach().contiguous(),
            "embeddings": model.target_table.weight.detach().contiguous(),
            "table": model.output_bias.detach().new_empty(V, width),
            "known": torch.zeros(V, dtype=torch.uint8),
            "never": torch.tensor(NEVER),
        }
        self._network = Network(
            V=V,
            E=model.target_table.embedding_dim,
            N=cell.hidden_size,
            C=attention.key.in_features,
            A=len(attention.v),
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
        tensors = {
            "keys": self._operations.prepare_keys(memory.keys.float()),
            "values": memory.values.float().contiguous(),
            "hidden": state.hidden.float().contiguous(),
            "contexts": state.context.float().contiguous(),
            "mask": memory.mask.contiguous(),
            "limit": limit.to(torch.int64).contiguous(),
        }
        B, S = memory.mask.shape
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
        call("dl_search_begin", self._kind, 1, *pointers)
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


def arrange_products(
    model: AttentionGru, attention: AdditiveAttention, *, kind: Kind
) -> dict[str, Panels]:
    """Return the weights by what they are multiplied with; see `Network` of `decoding.cpp`."""
    cell, readout = model.decoder.cell, model.readout.linear
    E, N = model.target_table.embedding_dim, cell.hidden_size
    gates_word, gates_context = cell.weight_ih[:, :E], cell.weight_ih[:, E:]
    from_state, from_word = readout.weight[:, :N], readout.weight[:, N : N + E]
    from_context = readout.weight[:, N + E :]
    gates_bias, _ = fold_biases(cell.bias_ih, cell.bias_hh)
    updated = model.decoder.attention_query == "updated"
    weights: dict[str, tuple[list[Tensor], list[Tensor]]] = {
        "word": ([gates_word, from_word], [gates_bias, readout.bias]),
        "state": ([cell.weight_hh], []),
        "context": ([gates_context] if updated else [gates_context, from_context], []),
        "query": ([attention.query.weight, from_state], []),
        "seen": ([from_context], []),
        "output": ([model.output_weight], [model.output_bias]),
    }
    return {
        name: Panels(
            torch.cat(many),
            torch.cat(biases) if biases else None,
            kind=kind,
            beyond=-math.inf if name == "output" else 0.0,  # no tokens
        )
        for name, (many, biases) in weights.items()
    }


class Panels:
    """The weights of one product, arranged as `panels.h` multiplies rows with them.

    Args:
        weight: (M, K) float32.
        bias: (M,) or None.
        kind: what to multiply.
        beyond: the bias of outputs beyond M, up to the last panel's end.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, kind: Kind, beyond: float = 0.0
    ) -> None:
        weight = weight.detach().float()
        self.shape = weight.shape
        M, K = weight.shape
        columns = weight.new_ones(M)
        if kind == "int8":
            values, columns = quantise_weight(weight)
        else:
            values = weight.to(torch.bfloat16 if kind == "bf16" else torch.float32)
        bias = weight.new_zeros(M) if bias is None else bias.detach().float()
        self._bias = F.pad(bias, (0, -M % WIDTH), value=beyond)
        self._scales = F.pad(columns, (0, -M % WIDTH))
        # Rows of integers come with 128 added, as they may have no sign.
        starts = F.pad(-128 * values.sum(1, dtype=torch.int32), (0, -M % WIDTH))
        self._starts = starts if kind == "int8" else None
        shared = SHARED[kind]
        whole = F.pad(values, (0, -K % shared, 0, -M % WIDTH))
        panels = whole.view(-1, WIDTH, whole.shape[1] // shared, shared)  # (P, 64, K / s, s)
        self._weights = panels.transpose(1, 2).contiguous()

    def pointers(self) -> PanelsPointers:
        """Return where they lie; they stay there as long as this object lives."""
        return PanelsPointers(
            *self.shape,
            self._weights.data_ptr(),
            self._bias.data_ptr(),
            self._scales.data_ptr(),
            0 if self._starts is None else self._starts.data_ptr(),
        )


def _fields(sizes: str, pointers: str) -> list[tuple[str, type]]:
    longs = [(name, ctypes.c_long) for name in sizes.split()]
    return [*longs, *((name, ctypes.c_void_p) for name in pointers.split())]


class PanelsPointers(ctypes.Structure):
    """`Panels` of `panels.h`."""

    _fields_ = _fields("outputs inputs", "weights bias scales starts")


class Network(ctypes.Structure):
    """`Network` of `decoding.cpp`: a decoder, as it stays from batch to batch."""

    _fields_ = [
        *_fields("V E N C A R maxout updated", ""),
        *(
            (name, PanelsPointers)
            for name in ["word", "state", "context", "query", "seen", "output"]
        ),
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
