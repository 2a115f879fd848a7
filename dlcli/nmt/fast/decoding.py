"""Weights in panels, as `panels.h` multiplies rows with them.

Legend: M outputs, K inputs, P panels of 64 outputs.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.nmt.beam import NEVER, Hypothesis
from dlcli.nmt.fast.compiling import load_library, reason
from dlcli.nmt.fast.kernels import NativeElementwise, native
from dlcli.nmt.fast.products import quantise_weight
from dlcli.nmt.gru import fold_biases
from dlcli.nmt.tokenizer import BOS, EOS

if TYPE_CHECKING:
    from dlcli.nmt.decoder import Memory, State
    from dlcli.nmt.model import Translation

Kind = Literal["fp32", "bf16", "int8"]
"""What is multiplied; sums are float32, or exact for 8-bit integers."""
KINDS: tuple[Kind, ...] = ("fp32", "bf16", "int8")
"""In the order of their numbers."""
SHARED = {"fp32": 1, "bf16": 2, "int8": 4}
"""How many inputs share 32 bits."""
WIDTH = 64
"""Outputs of a panel."""


class PanelsPointers(ctypes.Structure):
    """`Panels` of `panels.h`."""

    _fields_ = [
        ("outputs", ctypes.c_long),
        ("inputs", ctypes.c_long),
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("starts", ctypes.c_void_p),
    ]


class Panels:
    """The weights of one product, arranged once.

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
        self.shape, self.kind = weight.shape, kind
        M, K = weight.shape
        columns = weight.new_ones(M)
        if kind == "int8":
            values, columns = quantise_weight(weight)
        else:
            values = weight.to(torch.bfloat16 if kind == "bf16" else torch.float32)
        bias = weight.new_zeros(M) if bias is None else bias.detach().float()
        self._bias = F.pad(bias, (0, -M % WIDTH), value=beyond)
        self._scales = _filled(columns)
        # Rows of integers come with 128 added, as they may have no sign.
        self._starts = _filled(-128 * values.sum(1, dtype=torch.int32)) if kind == "int8" else None
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


def _filled(values: Tensor) -> Tensor:
    """Return values (M,) with zeros up to the last panel's end."""
    return F.pad(values, (0, -len(values) % WIDTH))


# -- The compiled beam search of a batch, where this machine has a C++ compiler and AVX-512
# Legend: B sentences, S source length, N hidden, C context, A attention size, V vocabulary.

SIGNATURES = {
    "dl_has": "p",
    "dl_multiply": "p n pp",
    "dl_search_begin": "pp p",
    "dl_search_step": "p n p",
    "dl_search_sizes": "p n pp",
    "dl_search_result": "p n ppppp",
    "dl_search_end": "p",
}
"""Of the functions in `decoding.cpp`, see `dlcli.nmt.fast.compiling`."""
SIZES = ("V", "E", "N", "C", "A", "R", "maxout", "updated")
PRODUCTS = ("word", "state", "context", "query", "seen", "output")


class NativeNetwork(ctypes.Structure):
    """`Network` of `decoding.cpp`: a decoder, as it stays from batch to batch."""

    _fields_ = [
        *((name, ctypes.c_long) for name in SIZES),
        *((name, PanelsPointers) for name in PRODUCTS),
        ("bias_n", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("embeddings", ctypes.c_void_p),
        ("table", ctypes.c_void_p),
        ("known", ctypes.c_void_p),
        ("never", ctypes.c_void_p),
        ("nevers", ctypes.c_long),
    ]


class NativeBatch(ctypes.Structure):
    """`Batch` of `decoding.cpp`: what is to be translated, and how."""

    _fields_ = [
        ("B", ctypes.c_long),
        ("S", ctypes.c_long),
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("hidden", ctypes.c_void_p),
        ("contexts", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("limit", ctypes.c_void_p),
        ("beam_size", ctypes.c_long),
        ("n_best", ctypes.c_long),
        ("first", ctypes.c_long),
        ("last", ctypes.c_long),
        ("length_penalty", ctypes.c_float),
    ]


class NativeDecoding:
    """The functions of `decoding.cpp`.

    Args:
        library: it, compiled.
        kind: what products are of.
    """

    def __init__(self, library: ctypes.CDLL, *, kind: Kind) -> None:
        self.library, self.kind = library, KINDS.index(kind)

    def multiply(self, panels: Panels, rows: Tensor) -> Tensor:
        """Map rows (N, K) float32 to (N, M)."""
        out, rows = rows.new_empty(len(rows), panels.shape[0]), rows.contiguous()
        self.library.dl_multiply(
            self.kind,
            1,
            ctypes.byref(panels.pointers()),
            *(len(rows), rows.data_ptr(), out.data_ptr()),
        )
        return out

    def begin(self, network: NativeNetwork, batch: NativeBatch) -> Walk:
        """Begin to search; what both point to has to stay where it is."""
        return Walk(self, network=network, batch=batch)


class Walk:
    """A search under way; a context manager, which frees its memory.

    Args:
        decoding: the functions.
        network: the decoder.
        batch: of B sentences.
    """

    def __init__(
        self, decoding: NativeDecoding, *, network: NativeNetwork, batch: NativeBatch
    ) -> None:
        self._library, self._sentences = decoding.library, int(batch.B)
        self._search = ctypes.c_void_p()
        self._library.dl_search_begin(
            decoding.kind, 1, *map(ctypes.byref, (network, batch, self._search))
        )

    def __enter__(self) -> Walk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._library.dl_search_end(0, 1, self._search)

    def step(self, steps: int = 1) -> int:
        """Take steps; return how many hypotheses live on."""
        live = ctypes.c_int64()
        self._library.dl_search_step(0, 1, self._search, steps, ctypes.byref(live))
        return live.value

    def ranked(self) -> list[list[Hypothesis]]:
        """Return the n best of each sentence, finished ones first, by falling score."""
        B = self._sentences
        counts, total = torch.empty(B, dtype=torch.int64), torch.empty(1, dtype=torch.int64)
        self._library.dl_search_sizes(0, 1, self._search, B, counts.data_ptr(), total.data_ptr())
        M = int(counts.sum())
        log_probs, scores = torch.empty(2, M).unbind()
        finished, lengths = torch.empty(M, dtype=torch.bool), torch.empty(M, dtype=torch.int64)
        tokens = torch.empty(int(total), dtype=torch.int64)
        columns = (log_probs, scores, finished, lengths)
        self._library.dl_search_result(
            0, 1, self._search, B, *(column.data_ptr() for column in (*columns, tokens))
        )
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


def load_compiled_search() -> tuple[dict[str, bool], str]:
    """Say for which products the search is compiled on this machine, and else why not."""
    one = torch.zeros(1)
    found: dict[str, bool] = {}
    for kind in KINDS:
        found[kind] = native_decoding(one, kind=kind) is not None
    if any(found.values()):
        return found, ""
    return found, reason("decoding") or "This processor lacks AVX-512."


def native_decoding(like: Tensor, *, kind: Kind) -> NativeDecoding | None:
    """Return the compiled functions for tensors like this one, or None.

    Args:
        like: a weight.
        kind: what products are to be of.
    """
    if like.device.type != "cpu" or like.dtype != torch.float32:
        return None
    library = load_library("decoding", tuple(SIGNATURES.items()))
    if library is None:
        return None
    found = ctypes.c_int64()
    library.dl_has(KINDS.index(kind), 1, ctypes.byref(found))
    return NativeDecoding(library, kind=kind) if found.value else None


# -- A whole search in compiled code: the decoder's weights arranged for it, and one batch at a time
# `dlcli.nmt.search` with steps from `dlcli.nmt.fast.stepping` is the form for every device, and
# what this is held against. Here a step is one call on one thread, so that several batches can be
# translated at the same time; products of words are kept in a table, and hypotheses that go on
# from the same one share its products.
#
# Legend: B sentences, S source length, E embedding, N hidden, C context, A attention size, R
# readout, V vocabulary.

LARGEST_TABLE = 2**28
"""Most numbers that the table of words may have; only those of words that occur take memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CompiledDecoder:
    """A model's decoder, arranged once for many batches.

    Attributes:
        decoding: the compiled functions.
        operations: that bend the keys.
        network: where everything lies.
        kept: what the network points to.
    """

    decoding: NativeDecoding
    operations: NativeElementwise
    network: NativeNetwork
    kept: tuple[object, ...]


def compile_decoder(model: Translation, *, kind: Kind) -> CompiledDecoder | None:
    """Arrange a model's weights; None where there is no compiled form for them.

    Args:
        model: as it will stay.
        kind: what the decoder multiplies.
    """
    like, attention = model.output_bias, model.decoder.attention
    decoding = native_decoding(like, kind=kind)
    operations = native(like, low=torch.float32)
    if decoding is None or operations is None or attention is None or not model.fused:
        return None
    products = _products(model, kind=kind)
    V, width = model.vocabulary, products["word"].shape[0]
    if len(NEVER) >= V or V * width > LARGEST_TABLE:
        return None
    bias_n = fold_biases(model.decoder.cell.bias_ih, model.decoder.cell.bias_hh)[1]
    tensors = {
        "bias_n": bias_n.detach().contiguous(),
        "v": attention.v.detach().contiguous(),
        "embeddings": model.target_table.weight.detach().contiguous(),
        "table": like.new_empty(V, width),
        "known": torch.zeros(V, dtype=torch.uint8),
        "never": torch.tensor(NEVER),
    }
    network = NativeNetwork(
        V=V,
        E=model.target_table.embedding_dim,
        N=model.decoder.cell.hidden_size,
        C=attention.key.in_features,
        A=len(attention.v),
        R=products["output"].shape[1],
        maxout=int(model.readout.maxout),
        updated=int(model.decoder.attention_query == "updated"),
        nevers=len(NEVER),
        **{name: panels.pointers() for name, panels in products.items()},
        **{name: tensor.data_ptr() for name, tensor in tensors.items()},
    )
    return CompiledDecoder(
        decoding=decoding, operations=operations, network=network, kept=(products, tensors)
    )


def _products(model: Translation, *, kind: Kind) -> dict[str, Panels]:
    """Return the weights by what they are multiplied with; see `Network` of `decoding.cpp`."""
    cell, attention, readout = model.decoder.cell, model.decoder.attention, model.readout.linear
    assert attention is not None
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


def compiled_search(
    decoder: CompiledDecoder,
    memory: Memory,
    *,
    state: State,
    limit: Tensor,
    beam_size: int,
    length_penalty: float,
    n_best: int,
    between: Callable[[], object] = lambda: None,
) -> list[list[Hypothesis]]:
    """Translate a batch, as `dlcli.nmt.search.search` does from its memory on.

    Args:
        decoder: the model's.
        memory: of B sentences.
        state: before the first word.
        limit: (B,) the most tokens of a translation.
        beam_size: places of a sentence.
        length_penalty: exponent of the length.
        n_best: how many to return of each.
        between: called between steps; what it raises ends the search.
    """
    keys = decoder.operations.bend(memory.keys.float())
    tensors = {
        "keys": keys,
        "values": memory.values.float().contiguous(),
        "hidden": state.hidden.float().contiguous(),
        "contexts": state.context.float().contiguous(),
        "mask": memory.mask.contiguous(),
        "limit": limit.to(torch.int64).contiguous(),
    }
    B, S = memory.mask.shape
    batch = NativeBatch(
        B=B,
        S=S,
        beam_size=beam_size,
        n_best=n_best,
        first=BOS,
        last=EOS,
        length_penalty=length_penalty,
        **{name: tensor.data_ptr() for name, tensor in tensors.items()},
    )
    with decoder.decoding.begin(decoder.network, batch) as walk:
        while walk.step():
            between()
        return walk.ranked()
