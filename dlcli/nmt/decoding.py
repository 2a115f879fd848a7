"""A whole search in compiled code: the decoder's weights arranged for it, and one batch at a time.

`dlcli.nmt.search` with steps from `dlcli.nmt.stepping` is the form for every device, and what this
is held against. Here a step is one call on one thread, so that several batches can be
translated at the same time; products of words are kept in a table, and hypotheses that go on from
the same one share its products.

Legend: B sentences, S source length, E embedding, N hidden, C context, A attention size, R readout,
V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dlcli.nmt.beam import NEVER, Hypothesis
from dlcli.nmt.gru import fold_biases
from dlcli.nmt.native import NativeElementwise, native
from dlcli.nmt.native_decoding import NativeBatch, NativeDecoding, NativeNetwork, native_decoding
from dlcli.nmt.panels import Kind, Panels
from dlcli.nmt.tokenizer import BOS, EOS

if TYPE_CHECKING:
    from dlcli.nmt.decoder import Memory, State
    from dlcli.nmt.model import Translation

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
