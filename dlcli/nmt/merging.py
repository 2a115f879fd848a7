"""From the attention between pieces to that between words.

A source word takes the sum of what its pieces get, a target word the mean of what its pieces give,
so that rows still sum to one. Words are those of `dlcli.data.wordsplit`; a piece that reaches over
two of them is shared by their characters. `</s>` is a row and a column of its own.

Legend: P pieces, W words, T target, S source; either may have one more row or column for `</s>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.data.wordsplit import Word, split_words
from dlcli.nmt.tokenizer import UNK, Piece


@dataclass(frozen=True, kw_only=True, eq=False)
class WordShares:
    """Which words the pieces of a text belong to."""

    words: tuple[Word, ...]
    shares: Tensor
    """(P, W): the part of each piece that is in each word; rows sum to one."""
    unknown: tuple[int, ...]
    """Places of words of which the vocabulary does not know a piece."""


def word_shares(text: str, pieces: Sequence[Piece]) -> WordShares:
    """Find the words of a text and share its pieces among them.

    Spaces belong to no word; a piece of nothing else belongs to the word after it, or to the last
    one. A text without words (zero-width spaces) is one word, and so is what one unknown piece
    stands for, such as `<unk>` itself.
    """
    words = _words(text, pieces)
    shares = torch.zeros(len(pieces), len(words), dtype=torch.float64)
    first = 0  # no piece from here on reaches into an earlier word
    for row, piece in zip(shares, pieces, strict=True):
        while first < len(words) - 1 and words[first].end <= piece.start:
            first += 1
        place = first
        while place < len(words) and words[place].start < piece.end:
            word = words[place]
            row[place] = max(0, min(word.end, piece.end) - max(word.start, piece.start))
            place += 1
        if not row.any():
            row[first] = 1
    unknown = [index for index, piece in enumerate(pieces) if piece.id == UNK]
    shares /= shares.sum(dim=1, keepdim=True)
    lost = shares[unknown].sum(dim=0).nonzero()[:, 0].tolist()
    return WordShares(words=words, shares=shares, unknown=tuple(lost))


def _words(text: str, pieces: Sequence[Piece]) -> tuple[Word, ...]:
    found: list[Word] = []
    unknown = [piece for piece in pieces if piece.id == UNK]
    for word in split_words(text):
        last = found[-1] if found else None
        if last and any(one.start < last.end and word.start < one.end for one in unknown):
            found[-1] = Word(text[last.start : word.end], last.start, word.end)
        else:
            found.append(word)
    return tuple(found) or ((Word(text, 0, len(text)),) if pieces else ())


def merge_columns(matrix: Tensor, source: WordShares) -> Tensor:
    """Sum over the source pieces of each word: (T, P) → (T, W), or with `</s>` kept as last column.

    Raises:
        ValueError: the matrix has another number of columns.
    """
    return matrix.double() @ _with_end(source.shares, length=matrix.shape[1])


def merge_rows(matrix: Tensor, target: WordShares) -> Tensor:
    """Average over the target pieces of each word: (P, S) → (W, S), or with `</s>` as last row.

    Raises:
        ValueError: the matrix has another number of rows.
    """
    weights = _with_end(target.shares, length=matrix.shape[0]).T
    return weights @ matrix.double() / weights.sum(dim=1, keepdim=True)


def _with_end(shares: Tensor, *, length: int) -> Tensor:
    P, W = shares.shape
    if length == P:
        return shares
    if length != P + 1:
        raise ValueError(f"{length} places for {P} pieces and </s>")
    wider = torch.zeros(P + 1, W + 1, dtype=shares.dtype)
    wider[:P, :W], wider[P, W] = shares, 1.0
    return wider
