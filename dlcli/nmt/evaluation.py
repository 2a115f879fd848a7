"""Files of sentences, a line each, none of which may be lost: line N belongs to another line N."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from dlcli.data.catalogue import parts_of
from dlcli.data.corpora import load_corpus
from dlcli.data.text import Fault, read_lines
from dlcli.errors import ConfigError, DataError, UsageFault
from dlcli.nmt.config import NmtEvalConfig
from dlcli.nmt.scoring import (
    Counts,
    Difference,
    LengthBin,
    Metric,
    Score,
    compare,
    length_bins,
    longer_than,
    score_corpus,
    word_counts,
)
from dlcli.nmt.text import moses_available, moses_tokenized, moses_version
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from dlcli.nmt.validation import describe

STDIN = Path("-")
SEPARATOR = "|||"


def read_sentences(path: Path) -> list[str]:
    """Read every line of a file, or of standard input (`-`), in NFC; blank lines are kept.

    Raises:
        DataError: the file cannot be read, or a line of it is no text.
    """
    try:
        with nullcontext(sys.stdin.buffer) if path == STDIN else path.open("rb") as file:
            lines = list(read_lines(cast(BinaryIO, file), name=str(path)))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.",
            hint="Check the path and its permissions; two files have a flag each."
            if "," in path.name
            else "Check the path and its permissions.",
        ) from None
    for number, line in enumerate(lines, start=1):
        if isinstance(line, Fault):
            raise DataError(
                f"Line {number:,} of {path} cannot be read: {line.reason} in {line.excerpt}.",
                hint="Mend the line: leaving it out would shift all that follow.",
            )
    return [str(line) for line in lines]


def read_two(source: Path, target: Path) -> list[tuple[str, str]]:
    """Read two files line by line.

    Raises:
        DataError: they differ in length, or see `read_sentences`.
    """
    first, second = read_sentences(source), read_sentences(target)
    require_equal(len(first), len(second), names=(str(source), str(target)))
    return list(zip(first, second, strict=True))


def read_joined(path: Path) -> list[tuple[str, str]]:
    """Read lines of the form `source ||| target`.

    Raises:
        DataError: a line has not two sides, or see `read_sentences`.
    """
    found = []
    for number, line in enumerate(read_sentences(path), start=1):
        sides = line.split(SEPARATOR)
        if len(sides) != 2:
            raise DataError(
                f"Line {number:,} of {path} has {len(sides) - 1} '{SEPARATOR}', not one.",
                hint=f"Write each pair as: source {SEPARATOR} target.",
            )
        found.append((sides[0].strip(), sides[1].strip()))
    return found


def require_equal(first: int, second: int, *, names: tuple[str, str]) -> None:
    """Make sure that two files have the same number of lines.

    Raises:
        DataError: they have not.
    """
    if first != second:
        raise DataError(
            f"{names[0]} has {first:,} lines and {names[1]} has {second:,}.",
            hint="Line N of one must belong to line N of the other.",
        )


def require_lines(count: int, *, name: str) -> None:
    """Make sure that there is something to work on.

    Raises:
        UsageFault: there are no lines.
    """
    if not count:
        raise UsageFault(f"{name} has no lines.", hint="Give a file with sentences in it.")


# -- Sentences with references to be translated: a split of a corpus, or two files of the user's

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


# -- Evaluating a translator: BLEU, chrF, both with intervals, by sentence length, and its speed
# Question 13 asks what attention is for: `compare_evaluations` sets two evaluations of the same
# sentences beside each other, over all and by length, with paired bootstrap intervals.

Progress = Callable[[float, str], object]
AT_ONCE = 512
"""Sentences of like length that are translated between two signs of life."""


@dataclass(frozen=True, kw_only=True)
class LengthScore:
    """BLEU of the sentences of some lengths."""

    name: str
    """`6-10`, or `> 15`: words of the source."""
    low: int
    high: int | None
    sentences: int
    mean_words: float
    bleu: Score


@dataclass(frozen=True, kw_only=True)
class NmtEvaluation:
    """What a translator made of a test set."""

    run: str
    checkpoint: str
    data: str
    split: str
    direction: str
    sentences: int
    bleu: Score
    """sacreBLEU, 13a tokens of detokenised text."""
    chrf: Score
    bleu_tokenized: Score | None
    """Of Moses's tokens, as older papers have it; None without sacremoses."""
    by_length: tuple[LengthScore, ...]
    longer_than: tuple[LengthScore, ...]
    """Of all sentences above each edge but the last, which is in `by_length`."""
    elapsed_s: float
    """Of translating alone."""
    sentences_per_s: float
    device: str
    precision: str
    signature: str
    translations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LengthDifference:
    """One translator's BLEU minus another's, on the sentences of some lengths."""

    name: str
    low: int
    high: int | None
    sentences: int
    bleu: float
    other: float
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class NmtComparison:
    """Two translators on the same sentences: the first one's BLEU minus the other's."""

    run: str
    """Of the other."""
    bleu: Score
    """Of the other."""
    difference: Difference
    by_length: tuple[LengthDifference, ...]
    longer_than: tuple[LengthDifference, ...]
    signature: str
    """Of the other."""


def evaluate(
    translator: Translator,
    sentences: Parallel,
    config: NmtEvalConfig,
    *,
    at: Progress = lambda _done, _note: None,
) -> NmtEvaluation:
    """Translate sentences and score the translations.

    Args:
        translator: on its device.
        sentences: at least one.
        config: how to search and to score.
        at: told the share translated.

    Raises:
        UsageFault: a setting has no meaning.
        RunFailed: the model's probabilities are no numbers.
    """
    began = time.perf_counter()
    found = _translated(translator, sentences.source, config, at=at)
    elapsed = time.perf_counter() - began
    trained, metric = translator.trained, metric_of(translator, config)
    counts = metric.count(found, sentences.reference)
    chrf = Metric(name="chrf", lowercase=metric.lowercase)
    resamples = config.resamples
    bins, above = bins_of(sentences.source, edges=config.bins)
    return NmtEvaluation(
        run=str(trained.run.path),
        checkpoint=trained.checkpoint,
        data=sentences.data,
        split=sentences.split,
        direction=trained.config.data.direction,
        sentences=len(sentences),
        bleu=score_corpus(counts, metric, resamples=resamples),
        chrf=score_corpus(chrf.count(found, sentences.reference), chrf, resamples=resamples),
        bleu_tokenized=_tokenized(translator, found, sentences, config),
        by_length=tuple(_at_length(counts, one, sentences, config, metric) for one in bins),
        longer_than=tuple(_at_length(counts, one, sentences, config, metric) for one in above),
        elapsed_s=elapsed,
        sentences_per_s=len(sentences) / elapsed,
        device=str(translator.compute.device),
        precision=translator.precision,
        signature=_signature(translator, sentences, config, lowercase=metric.lowercase),
        translations=tuple(found),
    )


def compare_evaluations(
    first: NmtEvaluation,
    other: NmtEvaluation,
    *,
    sentences: Parallel,
    config: NmtEvalConfig,
    lowercase: bool,
) -> NmtComparison:
    """Set two translators' evaluations of the same sentences beside each other.

    Args:
        first: whose gain is measured.
        other: over what.
        sentences: what both translated.
        config: the settings of both.
        lowercase: whether case counts for nothing.
    """
    metric = Metric(lowercase=lowercase)
    mine, theirs = (metric.count(one.translations, sentences.reference) for one in (first, other))

    def between(one: LengthBin) -> LengthDifference:
        a, b = mine[list(one.rows)], theirs[list(one.rows)]
        return LengthDifference(
            name=one.name,
            low=one.low,
            high=one.high,
            sentences=len(one.rows),
            bleu=float(metric.scores(a.sum(axis=0))),
            other=float(metric.scores(b.sum(axis=0))),
            difference=compare(a, b, metric, resamples=config.resamples),
        )

    bins, above = bins_of(sentences.source, edges=config.bins)
    return NmtComparison(
        run=other.run,
        bleu=score_corpus(theirs, metric, resamples=config.resamples),
        difference=compare(mine, theirs, metric, resamples=config.resamples),
        by_length=tuple(map(between, bins)),
        longer_than=tuple(map(between, above)),
        signature=other.signature,
    )


def bins_of(
    source: Sequence[str], *, edges: Sequence[int]
) -> tuple[list[LengthBin], list[LengthBin]]:
    """Sort sentences by their number of words: into bins, and into those above each edge.

    Raises:
        UsageFault: the edges do not rise.
    """
    lengths = word_counts(source)
    return length_bins(lengths, edges=edges), longer_than(lengths, edges=edges)


def metric_of(translator: Translator, config: NmtEvalConfig) -> Metric:
    """Return BLEU with the case that the run and the settings ask for."""
    return Metric(lowercase=config.lowercase or translator.trained.config.data.lowercase)


def check_same_direction(first: Translator, other: Translator) -> None:
    """Make sure that two translators can be compared on the same sentences.

    Raises:
        UsageFault: they translate in opposite directions.
    """
    mine, theirs = (one.trained.config.data.direction for one in (first, other))
    if mine != theirs:
        raise UsageFault(
            f"{other.trained.run.path} translates {theirs}, not {mine}.",
            hint="Name a run of the same direction with --against.",
        )


def _translated(
    translator: Translator, source: Sequence[str], config: NmtEvalConfig, *, at: Progress
) -> list[str]:
    """Translate the shortest first, so that little is padding, and answer in order."""
    order = sorted(range(len(source)), key=lambda row: len(source[row]))
    found = [""] * len(source)
    for start in range(0, len(order), AT_ONCE):
        rows = order[start : start + AT_ONCE]
        made = translator.translate([source[row] for row in rows], config=config.search)
        for row, one in zip(rows, made, strict=True):
            found[row] = one.translation
        at((start + len(rows)) / len(order), "translating")
    return found


def _at_length(
    counts: Counts, one: LengthBin, sentences: Parallel, config: NmtEvalConfig, metric: Metric
) -> LengthScore:
    words = word_counts([sentences.source[row] for row in one.rows])
    return LengthScore(
        name=one.name,
        low=one.low,
        high=one.high,
        sentences=len(one.rows),
        mean_words=sum(words) / len(words),
        bleu=score_corpus(counts[list(one.rows)], metric, resamples=config.resamples),
    )


def _tokenized(
    translator: Translator, found: Sequence[str], sentences: Parallel, config: NmtEvalConfig
) -> Score | None:
    """Score Moses's tokens, lower-cased before they are cut where case does not count."""
    if not moses_available():
        return None
    lowercase = metric_of(translator, config).lowercase
    metric = Metric(lowercase=lowercase, tokenize="none")
    language = translator.trained.direction[1]
    sides = (
        moses_tokenized(lines, language=language, lowercase=lowercase)
        for lines in (found, sentences.reference)
    )
    score = score_corpus(metric.count(*sides), metric, resamples=config.resamples)
    tokens = f"{score.signature}|tokens:moses-{language}-sacremoses-{moses_version()}"
    return Score(score=score.score, ci95=score.ci95, signature=tokens)


def _signature(
    translator: Translator, sentences: Parallel, config: NmtEvalConfig, *, lowercase: bool
) -> str:
    trained, search = translator.trained, config.search
    return describe(
        trained.config,
        data=sentences.data,
        split=sentences.split,
        sentences=len(sentences),
        trained_on=trained.config.data.name,
        checkpoint=trained.checkpoint,
        init=trained.run.origin,
        search="greedy" if search.beam_size == 1 else f"beam-{search.beam_size}",
        length_penalty=search.length_penalty if search.beam_size > 1 else None,
        case="lc" if lowercase else "mixed",
        resamples=config.resamples,
        precision=translator.precision,
    )
