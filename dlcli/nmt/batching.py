"""The sentences of a training: loaded, encoded, and put into batches of like length.

Batches are cut by tokens or by sentences. Each epoch draws anew which sentences of the same length
stand together, and in which order the batches come. The lengths in each batch stay the same, so
that every epoch has as many batches, and all of it follows from (seed, epoch).

Legend: P pairs, B sentences of a batch, S source length, T target length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcli.data.catalogue import (
    EUROPARL,
    EUROPARL_DEV,
    PATH_DIGEST,
    is_path,
    parts_of,
    split_path,
)
from dlcli.data.corpora import load_corpus
from dlcli.data.languages import Languages, languages_of
from dlcli.data.sentences import Pairs
from dlcli.engine.config import load_yaml
from dlcli.engine.events import NoticeCallback
from dlcli.engine.runs import RunFolder
from dlcli.engine.seed import generator
from dlcli.engine.step import BatchRanges
from dlcli.errors import CheckpointError, DataError, plural
from dlcli.nmt.config import NmtDataConfig, NmtTrainConfig
from dlcli.nmt.text import prepare_source
from dlcli.nmt.tokenizer import BOS, EOS, PAD, Subwords, Tokenizer, Words, load_tokenizer

Ids = list[list[int]]

WINDOW = 512
"""Pairs of one length among which neighbours are chosen by the length of their other side."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NmtData:
    """The pairs of a training."""

    name: str
    """The corpus's true name, never "auto"."""
    tokenizer: Tokenizer
    source: Ids
    """Of the training pairs, without special tokens."""
    target: Ids
    valid: Pairs
    """Sentences, prepared like those for training; may be empty."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def sets(self) -> dict[str, str]:
        """What each split is of, in a few words."""
        found = {"training": plural(len(self), "pair")}
        return found | ({"validation": plural(len(self.valid), "pair")} if len(self.valid) else {})

    def bitext(self, device: torch.device) -> Bitext:
        """Return the training pairs on a device."""
        return Bitext(self.source, self.target, device=device)


def load_data(
    config: NmtDataConfig,
    *,
    resumed: RunFolder | None = None,
    origin: RunFolder | None = None,
    notice: NoticeCallback,
) -> NmtData:
    """Load a corpus, cut it, and encode it.

    Args:
        config: which corpus, and how it is cut.
        resumed: the run that goes on: its vocabulary is taken, where it has come that far.
        origin: the run whose weights are started from, and whose vocabulary they are for.
        notice: told one sentence where the user should know something.

    Raises:
        ConfigError: the vocabulary is too small.
        DataError: the corpus cannot be had, or has no pairs to train on.
    """
    corpus = load_corpus(
        config.name,
        direction=config.direction,
        offline=config.offline,
        notice=notice,
        train_pairs=config.train_pairs or None,
    )
    train = corpus.train.first(config.train_pairs) if config.train_pairs else corpus.train
    train = prepared(train)
    if not len(train):
        raise DataError(
            f"{corpus.name} has no pairs to train on.",
            hint="Check the files given to --data; a few pairs of each file go into the test.",
        )
    tokenizer = _tokenizer(config, train, resumed=resumed, origin=origin, notice=notice)
    source, target = _encode(config, train, tokenizer=tokenizer, name=corpus.name, notice=notice)
    valid = prepared(corpus.valid.first(config.validation) if config.validation else corpus.valid)
    if not len(valid):
        notice(f"{corpus.name} has no validation pairs: the last checkpoint will be the result.")
    return NmtData(name=corpus.name, tokenizer=tokenizer, source=source, target=target, valid=valid)


def prepared(pairs: Pairs) -> Pairs:
    """Return pairs with their sources as a translator reads them."""
    source = tuple(map(prepare_source, pairs.source))
    return Pairs(source=source, target=pairs.target, links=pairs.links)


def _tokenizer(
    config: NmtDataConfig,
    train: Pairs,
    *,
    resumed: RunFolder | None,
    origin: RunFolder | None,
    notice: NoticeCallback,
) -> Tokenizer:
    for run in filter(None, (resumed, origin)):
        try:
            return load_tokenizer(run)
        except CheckpointError:
            if run is origin or run.checkpoint().is_file():
                raise
    source, target = list(train.source), list(train.target)
    if config.tokenizer == "word":
        return Words.learn(
            source,
            target,
            size=config.vocabulary,
            lowercase=config.lowercase,
            languages=languages_of(config.direction),
        )
    return Subwords.learn(
        [*source, *target], size=config.vocabulary, lowercase=config.lowercase, notice=notice
    )


def _encode(
    config: NmtDataConfig, train: Pairs, *, tokenizer: Tokenizer, name: str, notice: NoticeCallback
) -> tuple[Ids, Ids]:
    """Encode the training pairs, leaving out those with an empty or too long side."""
    sides = (tokenizer.encode_all(list(side)) for side in (train.source, train.target))
    pairs = list(zip(*sides, strict=True))
    kept = [pair for pair in pairs if all(0 < len(ids) <= config.max_length for ids in pair)]
    if not kept:
        raise DataError(
            f"No pair of {name} has at most {config.max_length} tokens on both sides.",
            hint="Raise --max-length.",
        )
    if len(kept) < len(pairs):
        notice(
            f"{len(pairs) - len(kept):,} of {len(pairs):,} training pairs are left out: more than "
            f"{config.max_length} tokens on a side, or none."
        )
    return [source for source, _ in kept], [target for _, target in kept]


def with_saved_data(config: NmtTrainConfig, run: RunFolder) -> NmtTrainConfig:
    """Let what the run was started with, such as "auto" or a file, mean the corpus that it was."""
    saved = load_yaml(run.config_file).get("data")
    name = saved.get("name") if isinstance(saved, dict) else None
    if not isinstance(name, str) or not _may_mean(config.data.name, name):
        return config
    return dataclasses.replace(config, data=dataclasses.replace(config.data, name=name))


def _may_mean(given: str, true: str) -> bool:
    if is_path(given):
        return is_path(true) and _same_files(split_path(given), split_path(true))
    asked, found = parts_of(given), parts_of(true)
    return given == "auto" or (len(asked) == len(found) and all(map(_same, asked, found)))


def _same(given: str, true: str) -> bool:
    """Say whether a name means a corpus of the catalogue, of which it may say no version."""
    named = given in (true, PATH_DIGEST.sub("", true))
    return named or (given, true) == (EUROPARL.name, EUROPARL_DEV.name)


def _same_files(given: tuple[str, Languages | None], true: tuple[str, Languages | None]) -> bool:
    """Compare two names of files, and the languages of a file's columns where both say them."""
    paths = [
        sorted(str(Path(word).expanduser().absolute()) for word in name.split(","))
        for name, _ in (given, true)
    ]
    alike = len(paths[0]) > 1 or None in (given[1], true[1]) or given[1] == true[1]
    return alike and paths[0] == paths[1]


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


def cut(lengths: NDArray[np.int64], *, size: int, unit: str) -> BatchRanges:
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
