"""Sentences with references to be translated: a split of a corpus, or two files of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dlcli.data.corpora import load_corpus
from dlcli.data.joining import parts_of
from dlcli.errors import ConfigError, UsageFault
from dlcli.nmt.trained import Trained
from dlcli.study.nmt_eval_config import NmtEvalConfig
from dlcli.study.sentence_files import read_two, require_lines

Notice = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """N source sentences and a reference translation of each."""

    data: str
    """The corpus's true name, or that of the file."""
    split: str
    source: tuple[str, ...]
    reference: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source)


def load_parallel(trained: Trained, config: NmtEvalConfig, *, notice: Notice) -> Parallel:
    """Load the split that a run is to be evaluated on, in the run's own direction.

    A run that was trained on several corpora is evaluated on the first, as its validation was.

    Raises:
        ConfigError: there is no such corpus or split.
        DataError: the corpus cannot be had.
        UsageFault: the split has no sentences.
    """
    saved = trained.config.data
    corpus = load_corpus(
        config.data or parts_of(saved.name)[0],
        direction=saved.direction,
        offline=config.offline or saved.offline,
        notice=notice,
        train_pairs=0,
    )
    name = next(iter(corpus.tests), "test") if config.split == "test" else config.split
    if name == "train":
        raise ConfigError(
            "The training sentences tell nothing about translating new ones.",
            hint="Use --split valid or --split test.",
        )
    pairs = corpus.split(name)
    require_lines(len(pairs), name=f"The split {name} of {corpus.name}")
    return Parallel(
        data=corpus.name, split=name, source=tuple(pairs.source), reference=tuple(pairs.target)
    )


def parallel_files(source: Path | None, reference: Path | None) -> Parallel | None:
    """Read `--input` and `--reference`, or return None where neither is given.

    Raises:
        UsageFault: only one is given, or there are no lines.
        DataError: a file cannot be read, or they differ in length.
    """
    if source is None and reference is None:
        return None
    if source is None or reference is None:
        raise UsageFault(
            "`nmt eval` needs --input and --reference together.",
            hint="To translate without a reference use `dl nmt translate --input FILE`.",
        )
    pairs = read_two(source, reference)
    require_lines(len(pairs), name=str(source))
    return Parallel(
        data=str(source.absolute()),
        split="file",
        source=tuple(line for line, _ in pairs),
        reference=tuple(line for _, line in pairs),
    )
