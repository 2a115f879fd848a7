"""The sentences that a command works on: a split of a corpus, or the user's own files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from dlcli.data.corpora import load_corpus
from dlcli.data.sentences import Pairs
from dlcli.data.text import is_composed, read_sentences
from dlcli.engine.events import NoticeCallback
from dlcli.errors import DataError, UsageFault, plural


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Sentences and their translations, and what a signature calls them."""

    data: str
    """The corpus's true name, or that of the file."""
    split: str
    """Its true name: `test_2016_flickr`, not `test`; `file` where it is a file."""
    pairs: Pairs
    normalized: bool = False
    """Whether references of a file were brought into NFC: the file as it is scores less."""

    def first(self, count: int) -> Parallel:
        """Return the first pairs only; 0 takes all."""
        return replace(self, pairs=self.pairs.first(count)) if count else self


def of_corpus(
    name: str,
    *,
    split: str = "test",
    count: int = 0,
    direction: str,
    offline: bool,
    notice: NoticeCallback,
) -> Parallel:
    """Load a split of a corpus, with its links if the corpus knows them (`grammar` does).

    Args:
        name: see `dlcli.data.corpora.load_corpus`.
        split: train, valid, test, or a test set's own name.
        count: how many pairs, from the first; 0 takes all.
        direction: of the model.
        offline: never ask the network.
        notice: takes one sentence at a time.

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
    true = next(iter(corpus.tests)) if split == "test" else split
    return Parallel(data=corpus.name, split=true, pairs=pairs).first(count)


def to_evaluate(
    source: Path | None, reference: Path | None, *, notice: NoticeCallback
) -> Parallel | None:
    """Read `--input` and `--reference`, or return None where neither is given.

    Args:
        source, reference: two files, line by line.
        notice: called with a sentence where references are not in NFC.

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
    pairs, composed = read_two(source, reference), is_composed(reference)
    if not composed:
        notice(
            f"{reference} has letters and accents apart (it is not in NFC): they are joined before "
            "they are scored. Other programs score the file as it is, which gives less."
        )
    name = str(source.absolute())
    return Parallel(data=name, split="file", pairs=pairs, normalized=not composed)


def to_align(
    *,
    source: Path | None,
    target: Path | None,
    pairs: Path | None,
    gold: Path | None,
    index: int = 0,
) -> Parallel:
    """Read lines from whichever files were named, and the right links where they are known.

    Args:
        source, target: two files, line by line; or
        pairs: one of lines `source ||| target`.
        gold: the right links, see `read_gold`.
        index: what the words of the links are counted from, 0 or 1.

    Raises:
        UsageFault: too few or too many are named, or there are no lines.
        DataError: one cannot be read, or two differ in length.
    """
    if pairs is not None and source is None and target is None:
        name, found = pairs.name, read_joined(pairs)
    elif pairs is None and source is not None and target is not None:
        name, found = source.name, read_two(source, target)
    else:
        raise UsageFault(
            "`nmt align` needs either --source and --target, or --pairs, or --data.",
            hint="Write --source a.en --target a.fr, or --pairs a.en-fr, or --data grammar.",
        )
    links = None if gold is None else read_gold(gold, pairs=len(found), index=index)
    lines = Pairs(source=found.source, target=found.target, links=links)
    return Parallel(data=name, split="file", pairs=lines)


_NUMBERED = re.compile(r"(\d{1,9})[ \t]+(\d{1,9})[ \t]+(\d{1,9})(?:[ \t]+([SP]))?(?:[ \t]+[\d.]+)?")
"""A link in the format of the NAACL 2003 shared task: pair, source, target, sure or possible."""


def read_gold(path: Path, *, pairs: int, index: int) -> list[str]:
    """Read right links, a string a pair: a line each, or one link a line with the pair's number.

    The numbered form (`12 3 4 S`, Mihalcea & Pedersen 2003) counts from 1, whatever `index` is; its
    word 0 stands for nothing.

    Args:
        path: the file.
        pairs: how many pairs there are.
        index: what the words of the returned links are counted from, 0 or 1.

    Raises:
        DataError: the file cannot be read, or is of another number of pairs.
    """
    lines = read_sentences(path)
    numbered = [_NUMBERED.fullmatch(line.strip(" \t")) for line in lines if line.strip(" \t")]
    if not numbered or not all(numbered):
        if len(lines) != pairs:
            raise DataError(
                f"The gold file has {plural(len(lines), 'line')} for {plural(pairs, 'pair')}.",
                hint="It needs one line a pair, blank where there are no links.",
            )
        return lines
    found: list[list[str]] = [[] for _ in range(pairs)]
    for match in filter(None, numbered):
        number, source, target = (int(match[group]) for group in (1, 2, 3))
        if not 1 <= number <= pairs:
            raise DataError(
                f"The gold file has a link of pair {number:,}, of {pairs:,} in all.",
                hint="Its first column numbers the pairs from 1.",
            )
        if source and target:
            kind = "p" if match[4] == "P" else "-"
            found[number - 1].append(f"{source - 1 + index}{kind}{target - 1 + index}")
    return [" ".join(links) for links in found]


SEPARATOR = "|||"


def read_two(source: Path, target: Path) -> Pairs:
    """Read two files line by line.

    Raises:
        DataError: they differ in length, or see `read_sentences`.
        UsageFault: they have no lines.
    """
    first, second = read_sentences(source), read_sentences(target)
    if len(first) != len(second):
        raise DataError(
            f"{source} has {plural(len(first), 'line')} and {target} has {len(second):,}.",
            hint="Line N of one must belong to line N of the other.",
        )
    require_lines(len(first), name=str(source))
    return Pairs(source=first, target=second)


def read_joined(path: Path) -> Pairs:
    """Read lines of the form `source ||| target`.

    Raises:
        DataError: a line has not two sides, or see `read_sentences`.
        UsageFault: there are no lines.
    """
    found = []
    for number, line in enumerate(read_sentences(path), start=1):
        sides = line.split(SEPARATOR)
        if len(sides) != 2:
            raise DataError(
                f"Line {number:,} of {path} has {len(sides) - 1} '{SEPARATOR}', not one.",
                hint=f"Write each pair as: source {SEPARATOR} target.",
            )
        found.append((sides[0].strip(" \t"), sides[1].strip(" \t")))
    require_lines(len(found), name=str(path))
    return Pairs.of(found)


def require_lines(count: int, *, name: str) -> None:
    """Make sure that there is something to work on.

    Raises:
        UsageFault: there are no lines.
    """
    if not count:
        raise UsageFault(f"{name} has no lines.", hint="Give a file with sentences in it.")
