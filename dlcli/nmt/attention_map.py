"""The attention between two sentences, with its words on both axes and what it amounts to.

Legend: T target words, S source words, both with `</s>` as the last.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcli.nmt.alignment import Links, attention_links, format_pharaoh
from dlcli.nmt.merging import merge_columns, merge_rows, word_shares
from dlcli.nmt.tokenizer import EOS, SPECIALS, UNK, Piece

END = SPECIALS[EOS]


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMap:
    """Where a translator looked while it wrote each word of a translation."""

    text: str
    """The source sentence."""
    translation: str
    source: tuple[str, ...]
    """S words (or pieces), `</s>` last."""
    target: tuple[str, ...]
    """T words (or pieces), `</s>` last where the translation came to its end."""
    matrix: NDArray[np.float64]
    """(T, S): the attention that produced each target word; rows sum to one."""
    unknown_source: tuple[int, ...]
    """Places in `source` of what the vocabulary does not know; the model saw `<unk>` there."""
    unknown_target: tuple[int, ...]
    nll_per_token: float
    """Of the translation under the model, in nats; `</s>` is a token."""
    forced: bool
    """Whether the translation was given."""
    unit: str
    """`words` or `subwords`."""
    signature: str

    @property
    def links(self) -> Links:
        """Return (source, target) places: each target word's largest weight, `</s>` left out."""
        T = len(self.target) - (self.target[-1:] == (END,))
        return attention_links(torch.from_numpy(self.matrix[:T, : len(self.source) - 1]))

    @property
    def alignment(self) -> str:
        """Return the links in Pharaoh format, source first."""
        return format_pharaoh(self.links)

    @property
    def entropy_nats(self) -> float:
        """Return the mean entropy of the rows, from 0 to log S; its exponential counts words."""
        weights = self.matrix[self.matrix > 0]
        return max(0.0, -float((weights * np.log(weights)).sum()) / len(self.matrix))

    @property
    def steps_back(self) -> tuple[int, int]:
        """Count how the links run: steps against the diagonal, and all steps to another word."""
        places = [source for source, _ in sorted(self.links, key=lambda link: link[1])]
        moves = [b - a for a, b in itertools.pairwise(places) if a != b]
        return sum(move < 0 for move in moves), len(moves)


def merged(
    rows: Tensor, *, source: tuple[str, Sequence[Piece]], target: tuple[str, Sequence[Piece]]
) -> tuple[NDArray[np.float64], list[tuple[str, ...]], list[tuple[int, ...]]]:
    """Merge the attention between pieces to that between words.

    Args:
        rows: (T, S) over pieces, both with or without `</s>`.
        source: a text and its pieces.
        target: likewise.

    Returns:
        The matrix; the words of both axes, source first; the places of their unknown words.
    """
    sides = [word_shares(*source), word_shares(*target)]
    matrix = merge_rows(merge_columns(rows, sides[0]), sides[1])
    words = [tuple(word.text for word in side.words) for side in sides]
    ended = [matrix.shape[1] > len(words[0]), matrix.shape[0] > len(words[1])]
    labels = [side + (END,) * end for side, end in zip(words, ended, strict=True)]
    return matrix.numpy(), labels, [side.unknown for side in sides]


def unmerged(
    rows: Tensor, *, source: Sequence[Piece], target: Sequence[Piece]
) -> tuple[NDArray[np.float64], list[tuple[str, ...]], list[tuple[int, ...]]]:
    """Do as `merged` does, piece by piece."""
    labels, unknown = [], []
    for side, length in ((source, rows.shape[1]), (target, rows.shape[0])):
        labels.append(tuple(piece.text for piece in side) + (END,) * (length > len(side)))
        unknown.append(tuple(i for i, piece in enumerate(side) if piece.id == UNK))
    return rows.double().numpy(), labels, unknown
