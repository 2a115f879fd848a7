"""Where a translator looks while it reads a translation that is given: forced decoding.

Either what attention says before a word is known, or where the word came from once it is.

Legend: S source pieces, T target pieces; matrices have a column and a row more, for `</s>`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dlcli.errors import UsageFault
from dlcli.nmt.batching import Bitext, SentenceBatch, cut
from dlcli.nmt.model import Translation
from dlcli.nmt.tokenizer import Piece, Tokenizer

Kind = Literal["attention", "posterior"]
KINDS: tuple[Kind, ...] = get_args(Kind)

AT_ONCE = 4096
"""Pairs among which those alike in length are put together."""
BATCH_TOKENS = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class ForcedAttention:
    """The attention of one pair, or the posterior that takes its place."""

    rows: Tensor
    """(T + 1, S + 1) float32 on the CPU: row t was computed when piece t was the input (`<s>`
    first) and produced piece t + 1 (`</s>` last); each sums to one."""
    source: tuple[Piece, ...]
    target: tuple[Piece, ...]


def forced_attention(
    model: Translation,
    tokenizer: Tokenizer,
    pairs: Iterable[tuple[str, str]],
    *,
    kind: Kind = "attention",
) -> Iterator[ForcedAttention]:
    """Read pairs of sentences and yield the attention of each, in order.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: the model's own.
        pairs: running text, source first; either may be empty.
        kind: `attention`, or `posterior`: where each piece came from once it is known, see
            `dlcli.nmt.posterior`.

    Raises:
        UsageFault: the model has no attention.
    """
    if model.config.attention == "none":
        raise UsageFault(
            "This model was trained with --attention none, so it has no attention to look at.",
            hint="Choose a run that was trained with --attention additive.",
        )
    stream = iter(pairs)
    while chunk := list(itertools.islice(stream, AT_ONCE)):
        yield from _together(model, tokenizer, chunk, kind=kind)


def _together(
    model: Translation, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], *, kind: Kind
) -> list[ForcedAttention]:
    """Read a few thousand pairs in batches of like length."""
    source = [tuple(tokenizer.pieces(text)) for text, _ in pairs]
    target = [tuple(tokenizer.pieces(text)) for _, text in pairs]
    device = model.embedding.weight.device
    bitext = Bitext(_ids(source), _ids(target), device=device)
    order = np.argsort(bitext.longer, kind="stable")
    found: list[Tensor] = [torch.empty(0)] * len(pairs)
    for start, stop in cut(bitext.longer[order], size=BATCH_TOKENS, unit="tokens"):
        batch = bitext.batch(order[start:stop])
        with torch.inference_mode():
            matrices = _matrices(model, batch, kind=kind)
        for place, matrix in zip(order[start:stop].tolist(), matrices, strict=True):
            rows = matrix[: len(target[place]) + 1, : len(source[place]) + 1]
            found[place] = rows.float().cpu().clone()
    return [
        ForcedAttention(rows=rows, source=s, target=t)
        for rows, s, t in zip(found, source, target, strict=True)
    ]


def _matrices(model: Translation, batch: SentenceBatch, *, kind: Kind) -> Iterable[Tensor]:
    """Return a matrix a sentence; there may be padding below and to the right."""
    if kind == "attention":
        return model.force(batch.source, batch.mask, batch.target_in).attention
    return model.posterior(
        batch.source, batch.mask, target_in=batch.target_in, target_out=batch.target_out
    )


def _ids(sentences: Sequence[Sequence[Piece]]) -> list[list[int]]:
    return [[piece.id for piece in pieces] for pieces in sentences]
