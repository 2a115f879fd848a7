"""Batches of sentences: alike in length, by tokens or by sentences, in an order that is exact.

Each epoch draws anew which sentences of the same length stand together, and in which order the
batches come. The lengths in each batch stay the same, so that every epoch has as many batches, and
all of it follows from (seed, epoch).

Legend: P pairs, B sentences of a batch, S source length, T target length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcli.engine.seed import generator
from dlcli.nmt.tokenizer import BOS, EOS, PAD

Bounds = list[tuple[int, int]]

WINDOW = 512
"""Pairs of one length among which neighbours are chosen by the length of their other side."""


class Side:
    """One side of all pairs: token ids in one array, padded to a batch when asked for.

    Args:
        sentences: the ids of each, with whatever special tokens they need.
        device: where to hold them (29,000 captions: 4 MB).
    """

    def __init__(self, sentences: Sequence[Sequence[int]], *, device: torch.device) -> None:
        lengths = np.fromiter((len(ids) for ids in sentences), np.int64, len(sentences))
        flat = np.fromiter((i for ids in sentences for i in ids), np.int64, int(lengths.sum()))
        starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
        self.lengths: Tensor = torch.from_numpy(lengths).to(device)
        self._starts: Tensor = torch.from_numpy(starts).to(device)
        self._flat: Tensor = torch.from_numpy(flat).to(device)

    def rows(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the chosen sentences (B,) as ids (B, L) and a mask (B, L), True = real token."""
        lengths = self.lengths[chosen]
        columns = torch.arange(int(lengths.max()), device=lengths.device)
        mask = columns < lengths[:, None]
        places = (self._starts[chosen, None] + columns).clamp_(max=len(self._flat) - 1)
        return self._flat[places].masked_fill_(~mask, PAD), mask


@dataclass(frozen=True, kw_only=True)
class SentenceBatch:
    """Sentences and their translations, padded: what the network works on.

    Attributes:
        source: (B, S) int64, each ended by EOS.
        mask: (B, S) bool, True where there is a token.
        target_in: (B, T) int64, BOS y1 …
        target_out: (B, T) int64, y1 … EOS; padding after it.
        tokens: real ones in `target_out`.
    """

    source: Tensor
    mask: Tensor
    target_in: Tensor
    target_out: Tensor
    tokens: int


class Bitext:
    """Encoded pairs on a device.

    Args:
        source: ids of each sentence, without special tokens.
        target: ids of each translation, without special tokens.
        device: where the batches are made.
    """

    def __init__(
        self,
        source: Sequence[Sequence[int]],
        target: Sequence[Sequence[int]],
        *,
        device: torch.device,
    ) -> None:
        self.source = Side([[*ids, EOS] for ids in source], device=device)
        self.target = Side([[BOS, *ids, EOS] for ids in target], device=device)
        self.device = device
        self.source_lengths: NDArray[np.int64] = self.source.lengths.cpu().numpy()
        self.target_lengths: NDArray[np.int64] = self.target.lengths.cpu().numpy() - 1

    def __len__(self) -> int:
        return len(self.source_lengths)

    @property
    def longer(self) -> NDArray[np.int64]:
        """The tokens of each pair's longer side, EOS included: (P,)."""
        return np.maximum(self.source_lengths, self.target_lengths)

    def batch(self, chosen: NDArray[np.int64]) -> SentenceBatch:
        """Pad the chosen pairs (B,), in their order."""
        rows = torch.from_numpy(chosen).to(self.device)
        source, mask = self.source.rows(rows)
        target, _ = self.target.rows(rows)
        target_in = target[:, :-1]
        return SentenceBatch(
            source=source,
            mask=mask,
            target_in=target_in.masked_fill(target_in == EOS, PAD),
            target_out=target[:, 1:],
            tokens=int(self.target_lengths[chosen].sum()),
        )


def cut(lengths: NDArray[np.int64], *, size: int, unit: str) -> Bounds:
    """Cut pairs, sorted by length, into batches: (start, stop) positions.

    Args:
        lengths: (P,) tokens of the longer side, rising.
        size: of a batch: sentences, or tokens with the padding to its longest sentence.
        unit: `tokens` or `sentences`.
    """
    bounds, start = [], 0
    for stop in range(1, len(lengths) + 1):
        cost = stop + 1 - start
        if unit == "tokens" and stop < len(lengths):
            cost *= int(lengths[stop])
        if stop == len(lengths) or cost > size:
            bounds.append((start, stop))
            start = stop
    return bounds


def epoch_order(
    longer: NDArray[np.int64],
    *,
    other: NDArray[np.int64],
    seed: int,
    epoch: int,
    window: int = WINDOW,
) -> NDArray[np.int64]:
    """Sort pairs by length, with a new order among equal lengths in each epoch.

    Among pairs of one length, each `window` of them is sorted by the other side's length, so that
    little of that side is padding, and yet nobody meets the same neighbours every time.

    Args:
        longer: (P,) tokens of the longer side.
        other: (P,) tokens of the side to sort windows by.
        seed, epoch: what the order is drawn from.
        window: pairs.

    Returns:
        (P,) positions.
    """
    stream = generator(seed, "order", epoch)
    drawn = torch.randperm(len(longer), generator=stream).numpy()
    order = drawn[np.argsort(longer[drawn], kind="stable")]
    place = np.arange(len(order))
    ranked = longer[order]
    first = np.searchsorted(ranked, ranked, side="left")
    windows = (place - first) // window
    return order[np.lexsort((other[order], windows, ranked))]


def batch_order(count: int, *, seed: int, epoch: int) -> list[int]:
    """Draw in which order the batches of an epoch come."""
    stream = generator(seed, "batches", epoch)
    return list(torch.randperm(count, generator=stream).tolist())
