"""What `dl nmt align` aligns: files of the user's, or a corpus, whose links may be known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcli.data.corpora import load_corpus
from dlcli.data.storage import Notice
from dlcli.errors import UsageFault
from dlcli.study.sentence_files import read_joined, read_sentences, read_two, require_lines


@dataclass(frozen=True, kw_only=True)
class AlignedPairs:
    """Lines to align."""

    name: str
    """What a signature calls them: a file's name, or a corpus with its split."""
    lines: Sequence[tuple[str, str]]
    gold: Sequence[str] | None = None
    """The right links of each line, where they are known."""


def pairs_of_corpus(
    name: str, *, split: str = "test", count: int = 0, direction: str, offline: bool, notice: Notice
) -> AlignedPairs:
    """Load a split of a corpus, with its links if the corpus knows them (`grammar` does).

    Args:
        name: see `dlcli.data.load_corpus`.
        split: train, valid, test, or a test set's own name.
        count: how many pairs, from the first; 0 takes all.
        direction: of the model.
        offline: never ask the network.
        notice: told one sentence at a time.

    Raises:
        ConfigError: there is no such corpus or split.
        DataError: it cannot be had.
        UsageFault: it has no pairs.
    """
    corpus = load_corpus(
        name,
        direction=direction,
        offline=offline,
        notice=notice,
        train_pairs=(count or None) if split == "train" else 0,
    )
    pairs = corpus.split(split)
    require_lines(len(pairs), name=f"The split {split} of {corpus.name}")
    pairs = pairs.first(count) if count else pairs
    return AlignedPairs(
        name=f"{corpus.name}-{split}",
        lines=list(zip(pairs.source, pairs.target, strict=True)),
        gold=pairs.links,
    )


def pairs_of_files(
    *, source: Path | None, target: Path | None, pairs: Path | None, gold: Path | None
) -> AlignedPairs:
    """Read lines from whichever files were named.

    Raises:
        UsageFault: too few or too many are named, or there are no lines.
        DataError: one cannot be read, or two differ in length.
    """
    if pairs is not None and source is None and target is None:
        lines = read_joined(pairs)
    elif pairs is None and source is not None and target is not None:
        lines = read_two(source, target)
    else:
        raise UsageFault(
            "`nmt align` needs either --source and --target, or --pairs, or --data.",
            hint="Write --source a.en --target a.fr, or --pairs a.en-fr, or --data grammar.",
        )
    named = pairs or source
    require_lines(len(lines), name=str(named))
    return AlignedPairs(
        name=named.name if named else "",
        lines=lines,
        gold=None if gold is None else read_sentences(gold),
    )
