"""Attention between pieces turned into attention between any tokens of the two texts.

Tokens are given as ranges of characters. A piece may be part of a token, or cover several, or
tokens may share their characters (French "de" "le" both became "du"): what overlaps belongs
together. Legend: T, S target and source pieces; J, I target and source tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlcli.nmt.alignment import shifted_rows
from dlcli.nmt.detokenize import Span
from dlcli.nmt.forced_attention import ForcedAttention
from dlcli.nmt.tokenizer import Piece


def token_attention(
    found: ForcedAttention, *, source: Sequence[Span], target: Sequence[Span], shift: int = 0
) -> Tensor:
    """Return how much each target token looks at each source token.

    Args:
        found: attention between pieces, of which the column of `</s>` is left out.
        source: the characters of each source token.
        target: the characters of each target token.
        shift: see `alignment.shifted_rows`.

    Returns:
        (J, I) float32: sums over a source token's pieces, means over a target token's.
    """
    rows = shifted_rows(found.rows, shift=shift)[:, :-1]
    columns = shares(found.source, spans=source)
    per_token = (shares(found.target, spans=target) > 0).float()
    pieces = per_token.sum(dim=0).clamp(min=1)
    return (per_token.T / pieces[:, None]) @ rows @ columns


def shares(pieces: Sequence[Piece], *, spans: Sequence[Span]) -> Tensor:
    """Return which share of each piece lies in each span: (pieces, spans).

    A piece is shared out by characters among the different spans that it overlaps; spans that are
    the same get the same. A piece that overlaps none, such as a space, has no share in any.
    """
    overlaps = torch.zeros(len(pieces), len(spans))
    distinct = torch.tensor([span not in spans[:index] for index, span in enumerate(spans)])
    first = 0
    for p, piece in enumerate(pieces):
        while first < len(spans) and spans[first][1] <= piece.start:
            first += 1
        for s in range(first, len(spans)):
            start, end = spans[s]
            if start >= piece.end:
                break
            overlaps[p, s] = min(end, piece.end) - max(start, piece.start)
    totals = overlaps[:, distinct].sum(dim=1) if len(spans) else overlaps.sum(dim=1)
    return overlaps / totals.clamp(min=1)[:, None]
