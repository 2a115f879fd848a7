"""Evaluating a translator: BLEU, chrF, both with intervals, by sentence length, and its speed.

Question 13 asks what attention is for: `compare_evaluations` sets two evaluations of the same
sentences beside each other, over all and by length, with paired bootstrap intervals.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from dlcli.data.catalogue import parts_of
from dlcli.data.languages import languages_of
from dlcli.data.sentences import count_words
from dlcli.engine.events import NoticeCallback, ProgressCallback
from dlcli.errors import ConfigError, UsageFault
from dlcli.nmt.batching import Bitext, prepared
from dlcli.nmt.config import NmtEvalConfig
from dlcli.nmt.pairs import Parallel, of_corpus
from dlcli.nmt.scoring import (
    Counts,
    Difference,
    LengthBin,
    Metric,
    Score,
    bleu_tokenizer,
    compare,
    length_bins,
    score_corpus,
)
from dlcli.nmt.text import moses_available, moses_knows, moses_tokenized, moses_version
from dlcli.nmt.trained import Trained, describe
from dlcli.nmt.translator import Translator

SENTENCES_PER_REPORT = 512
"""Sentences that are translated between two reports of progress."""


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
    """sacreBLEU of detokenised text; see `dlcli.nmt.scoring.bleu_tokenizer`."""
    chrf: Score
    bleu_tokenized: Score | None
    """Of Moses's tokens, as older papers have it; None without sacremoses, and where it does not
    know the language."""
    exact: float
    """The share of translations that are their reference, to the letter."""
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


def run_split(trained: Trained, config: NmtEvalConfig, *, notice: NoticeCallback) -> Parallel:
    """Load the split that a run is to be evaluated on, in the run's own direction.

    A run that was trained on several corpora is evaluated on the first, as its validation was.

    Raises:
        ConfigError: there is no such corpus or split.
        DataError: the corpus cannot be had.
        UsageFault: the split has no sentences.
    """
    if config.split == "train":
        raise ConfigError(
            "The training sentences tell nothing about translating new ones.",
            hint="Use --split valid or --split test.",
        )
    saved = trained.config.data
    return of_corpus(
        config.data or parts_of(saved.name)[0],
        split=config.split,
        direction=saved.direction,
        offline=config.offline or saved.offline,
        notice=notice,
    )


def validation_loss(
    trained: Trained, *, sentences: int, notice: NoticeCallback
) -> tuple[Callable[[], Tensor], str]:
    """Prepare the loss on a run's first validation pairs, without dropout, for its gradients.

    Args:
        trained: on its device.
        sentences: how many pairs; those that are too long for training are left out.
        notice: takes one sentence.

    Returns:
        What runs the model and returns nats a target token, and a signature.
    """
    found = run_split(trained, NmtEvalConfig(split="valid"), notice=notice)
    pairs = prepared(found.pairs.first(sentences))
    sides = (trained.tokenizer.encode_all(side) for side in (pairs.source, pairs.target))
    longest = trained.config.data.max_length
    kept = [pair for pair in zip(*sides, strict=True) if 0 < max(map(len, pair)) <= longest]
    if not kept:
        raise UsageFault(
            f"No validation pair of {found.data} has at most {longest} tokens.",
            hint="Measure more of them, or a run that was trained on longer sentences.",
        )
    bitext = Bitext(*map(list, zip(*kept, strict=True)), device=trained.model.device)
    batch = bitext.batch(np.arange(len(kept)))

    def loss() -> Tensor:
        found = trained.model.loss(
            batch.source, batch.mask, target_in=batch.target_in, target_out=batch.target_out
        )
        return found["loss"] / batch.tokens

    return loss, describe(
        trained.config,
        measure="ln-gradients",
        data=found.data,
        split=found.split,
        sentences=len(kept),
        trained_on=trained.config.data.name,
        checkpoint=trained.checkpoint,
        init=trained.run.origin,
        precision="fp32",
    )


def evaluate(
    translator: Translator,
    sentences: Parallel,
    config: NmtEvalConfig,
    *,
    progress: ProgressCallback = lambda _done, _note: None,
) -> NmtEvaluation:
    """Translate sentences and score the translations.

    Args:
        translator: on its device.
        sentences: at least one.
        config: how to search and to score.
        progress: called with the fraction translated.

    Raises:
        UsageFault: a setting has no meaning.
        RunFailed: the model's probabilities are no numbers.
    """
    source, references = sentences.pairs.source, sentences.pairs.target
    language = translator.trained.direction[0]
    bins, above = length_bins(source, edges=config.bins, language=language)
    began = time.perf_counter()
    found = _translated(translator, source, config, progress=progress)
    elapsed = time.perf_counter() - began
    trained, metric = translator.trained, metric_of(translator, config, sentences=sentences)
    counts = metric.count(found, references)
    chrf = replace(metric, name="chrf")
    resamples = config.resamples

    def at_length(one: LengthBin) -> LengthScore:
        return LengthScore(
            name=one.name,
            low=one.low,
            high=one.high,
            sentences=len(one.rows),
            mean_words=sum(count_words(source[row], language) for row in one.rows) / len(one.rows),
            bleu=score_corpus(counts[list(one.rows)], metric, resamples=resamples),
        )

    return NmtEvaluation(
        run=str(trained.run.path),
        checkpoint=trained.checkpoint,
        data=sentences.data,
        split=sentences.split,
        direction=trained.config.data.direction,
        sentences=len(found),
        bleu=score_corpus(counts, metric, resamples=resamples),
        chrf=score_corpus(chrf.count(found, references), chrf, resamples=resamples),
        bleu_tokenized=_tokenized(
            translator, found, references, metric=metric, resamples=resamples
        ),
        exact=sum(map(operator.eq, found, references)) / len(found),
        by_length=tuple(map(at_length, bins)),
        longer_than=tuple(map(at_length, above)),
        elapsed_s=elapsed,
        sentences_per_s=len(found) / elapsed,
        device=str(translator.compute.device),
        precision=translator.precision,
        signature=_signature(translator, sentences, config, metric=metric),
        translations=tuple(found),
    )


def metric_of(translator: Translator, config: NmtEvalConfig, *, sentences: Parallel) -> Metric:
    """Return BLEU with the case that the run and the settings ask for."""
    lowercase = config.lowercase or translator.trained.config.data.lowercase
    return _bleu(translator.trained.direction[1], sentences, lowercase=lowercase)


def _bleu(language: str, sentences: Parallel, *, lowercase: bool) -> Metric:
    tokenize = bleu_tokenizer(language, sentences.pairs.target)
    return Metric(lowercase=lowercase, tokenize=tokenize, normalized=sentences.normalized)


def _translated(
    translator: Translator,
    source: Sequence[str],
    config: NmtEvalConfig,
    *,
    progress: ProgressCallback,
) -> list[str]:
    """Translate the shortest first, so that little is padding, and answer in order."""
    order = sorted(range(len(source)), key=lambda row: len(source[row]))
    found = [""] * len(source)
    for start in range(0, len(order), SENTENCES_PER_REPORT):
        rows = order[start : start + SENTENCES_PER_REPORT]
        made = translator.translate([source[row] for row in rows], config=config.search)
        for row, one in zip(rows, made, strict=True):
            found[row] = one.translation
        progress((start + len(rows)) / len(order), "translating")
    return found


def _tokenized(
    translator: Translator,
    found: Sequence[str],
    references: Sequence[str],
    *,
    metric: Metric,
    resamples: int,
) -> Score | None:
    """Score Moses's tokens, lower-cased before they are cut where case does not count."""
    language = translator.trained.direction[1]
    if not moses_available() or not moses_knows(language):
        return None
    metric = replace(metric, tokenize="none")
    sides = (
        moses_tokenized(lines, language=language, lowercase=metric.lowercase)
        for lines in (found, references)
    )
    score = score_corpus(metric.count(*sides), metric, resamples=resamples)
    tokens = f"{score.signature}|tokens:moses-{language}-sacremoses-{moses_version()}"
    return Score(score=score.score, ci95=score.ci95, signature=tokens)


def _signature(
    translator: Translator, sentences: Parallel, config: NmtEvalConfig, *, metric: Metric
) -> str:
    trained, search = translator.trained, config.search
    return describe(
        trained.config,
        data=sentences.data,
        split=sentences.split,
        sentences=len(sentences.pairs),
        trained_on=trained.config.data.name,
        checkpoint=trained.checkpoint,
        init=trained.run.origin,
        search="greedy" if search.beam_size == 1 else f"beam-{search.beam_size}",
        length_penalty=search.length_penalty if search.beam_size > 1 else None,
        case="lc" if metric.lowercase else "mixed",
        references="nfc" if metric.normalized else None,
        resamples=config.resamples,
        precision=translator.precision,
    )


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
    source, target = languages_of(first.direction)
    metric = _bleu(target, sentences, lowercase=lowercase)

    def counts(one: NmtEvaluation) -> Counts:
        return metric.count(one.translations, sentences.pairs.target)

    mine, theirs = counts(first), counts(other)

    def at_length(one: LengthBin) -> LengthDifference:
        a, b = mine[list(one.rows)], theirs[list(one.rows)]
        return LengthDifference(
            name=one.name,
            low=one.low,
            high=one.high,
            sentences=len(one.rows),
            bleu=metric.score(a.sum(axis=0)),
            other=metric.score(b.sum(axis=0)),
            difference=compare(a, b, metric, resamples=config.resamples),
        )

    bins, above = length_bins(sentences.pairs.source, edges=config.bins, language=source)
    return NmtComparison(
        run=other.run,
        bleu=score_corpus(theirs, metric, resamples=config.resamples),
        difference=compare(mine, theirs, metric, resamples=config.resamples),
        by_length=tuple(map(at_length, bins)),
        longer_than=tuple(map(at_length, above)),
        signature=other.signature,
    )
