"""The sentences of a training, encoded: what is trained on, and what is validated on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from dlcli.data.catalogue import EUROPARL, EUROPARL_DEV
from dlcli.data.corpora import load_corpus
from dlcli.data.joining import parts_of
from dlcli.data.pairs import Pairs
from dlcli.data.text_files import is_path
from dlcli.engine.config import load_yaml
from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError, DataError
from dlcli.nmt.batching import Bitext
from dlcli.nmt.config import NmtDataConfig, NmtTrainConfig
from dlcli.nmt.subwords import Subwords
from dlcli.nmt.tokenizer import Tokenizer, load_tokenizer
from dlcli.nmt.words import Words

Notice = Callable[[str], object]
Ids = list[list[int]]


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
    """Raw; may be empty."""

    def __len__(self) -> int:
        return len(self.source)

    def bitext(self, device: torch.device) -> Bitext:
        """Return the training pairs on a device."""
        return Bitext(self.source, self.target, device=device)


def load_data(
    config: NmtDataConfig,
    *,
    resumed: RunFolder | None = None,
    origin: RunFolder | None = None,
    notice: Notice,
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
    if not len(train):
        raise DataError(
            f"{corpus.name} has no pairs to train on.",
            hint="Check the files given to --data; a few pairs of each file go into the test.",
        )
    tokenizer = _tokenizer(config, train, resumed=resumed, origin=origin, notice=notice)
    source, target = _encode(config, train, tokenizer=tokenizer, name=corpus.name, notice=notice)
    valid = corpus.valid.first(config.validation) if config.validation else corpus.valid
    if not len(valid):
        notice(f"{corpus.name} has no validation pairs: the last checkpoint will be the result.")
    return NmtData(name=corpus.name, tokenizer=tokenizer, source=source, target=target, valid=valid)


def _tokenizer(
    config: NmtDataConfig,
    train: Pairs,
    *,
    resumed: RunFolder | None,
    origin: RunFolder | None,
    notice: Notice,
) -> Tokenizer:
    for run in filter(None, (resumed, origin)):
        try:
            return load_tokenizer(run)
        except CheckpointError:
            if run is origin or run.checkpoint().is_file():
                raise
    source, target = list(train.source), list(train.target)
    if config.tokenizer == "word":
        return Words.learn(source, target, size=config.vocabulary, lowercase=config.lowercase)
    return Subwords.learn(
        [*source, *target], size=config.vocabulary, lowercase=config.lowercase, notice=notice
    )


def _encode(
    config: NmtDataConfig, train: Pairs, *, tokenizer: Tokenizer, name: str, notice: Notice
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
        return _paths(given) == _paths(true)
    asked, found = parts_of(given), parts_of(true)
    return given == "auto" or (len(asked) == len(found) and all(map(_same, asked, found)))


def _same(given: str, true: str) -> bool:
    return given == true or (given, true) == (EUROPARL.name, EUROPARL_DEV.name)


def _paths(name: str) -> list[str]:
    """Return the files in a corpus's name, without the digest of what was in them."""
    words = re.sub(r"#[0-9a-f]{8}$", "", name).split(",")
    return sorted(str(Path(word).expanduser().absolute()) for word in words)
