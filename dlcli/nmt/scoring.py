"""BLEU and chrF as sacreBLEU computes them: bootstrap intervals, differences, sentence lengths.

Both scores are functions of counts summed over sentences (n-gram matches, lengths), so a corpus is
counted once and a resample only sums other rows. Resamples are those that sacreBLEU itself draws
(Koehn 2004; `SACREBLEU_SEED`'s default), computed for all of them together.

Legend: N sentences, K counts a sentence, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from dlcli.errors import UsageFault

Counts = npt.NDArray[np.float64]
"""(N, K), or sums of it."""
MetricName = Literal["bleu", "chrf"]

SEED = 12345
"""Of sacreBLEU's resamples."""
AT_ONCE = 500_000
"""Sentences that are drawn together, some tens of megabytes of counts."""
ORDER, CHARACTERS, BETA = 4, 6, 2


@dataclass(frozen=True, kw_only=True)
class Score:
    """A corpus score, 0 to 100, with a 95% interval over resampled sentences."""

    score: float
    ci95: tuple[float, float]
    signature: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One system's score minus another's on the same sentences, resampled together."""

    value: float
    ci95: tuple[float, float]
    p_value: float
    """Of no difference, as sacreBLEU's paired bootstrap has it."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One of sacreBLEU's metrics, with the settings that go into its signature."""

    name: MetricName = "bleu"
    lowercase: bool = False
    tokenize: Literal["13a", "none"] = "13a"
    """Of BLEU; `none` is for text that is tokenised already."""

    def count(self, hypotheses: Sequence[str], references: Sequence[str]) -> Counts:
        """Count matches and lengths of each sentence: (N, K).

        Raises:
            ValueError: the two differ in number.
        """
        if len(hypotheses) != len(references):
            raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
        if not hypotheses:
            return np.zeros((0, 2 + 2 * ORDER if self.name == "bleu" else 3 * CHARACTERS))
        # Not public, yet what sacreBLEU's own significance tests are built on.
        rows = self._metric()._extract_corpus_statistics(hypotheses, [references])
        return np.array(rows, dtype=np.float64)

    def scores(self, sums: Counts) -> Counts:
        """Turn summed counts (…, K) into scores (…)."""
        return bleu_scores(sums) if self.name == "bleu" else chrf_scores(sums)

    def signature(self, *, resamples: int) -> str:
        """Return sacreBLEU's signature of a score with so many resamples."""
        metric = self._metric()
        metric.num_refs, metric.n_bootstrap, metric.seed = 1, resamples, str(SEED)
        return str(metric.get_signature().format())

    def _metric(self) -> BLEU | CHRF:
        if self.name == "chrf":
            return CHRF(lowercase=self.lowercase)
        return BLEU(lowercase=self.lowercase, tokenize=self.tokenize, force=True)


def score_corpus(counts: Counts, metric: Metric, *, resamples: int) -> Score:
    """Score counted sentences (N, K), N ≥ 1."""
    return Score(
        score=float(metric.scores(counts.sum(axis=0))),
        ci95=interval95(metric.scores(resampled_sums(counts, resamples=resamples))),
        signature=metric.signature(resamples=resamples),
    )


def compare(counts: Counts, baseline: Counts, metric: Metric, *, resamples: int) -> Difference:
    """Return score minus baseline; both (N, K), of the same N ≥ 1 sentences in the same order.

    Raises:
        ValueError: the two differ in number.
    """
    if counts.shape != baseline.shape:
        raise ValueError(f"{len(counts)} sentences against {len(baseline)}")
    first, second = (
        metric.scores(resampled_sums(one, resamples=resamples)) for one in (counts, baseline)
    )
    value = float(metric.scores(counts.sum(axis=0)) - metric.scores(baseline.sum(axis=0)))
    differences = first - second
    sizes = np.abs(differences)
    beyond = int((sizes - sizes.mean() > abs(value)).sum())
    return Difference(
        value=value, ci95=interval95(differences), p_value=(beyond + 1) / (resamples + 1)
    )


def resampled_sums(counts: Counts, *, resamples: int) -> Counts:
    """Sum the counts (N, K) of N sentences drawn with replacement, R times: (R, K).

    The sentences are those that sacreBLEU draws, some resamples at a time.
    """
    N, rng, found = len(counts), np.random.default_rng(SEED), []
    step = max(1, AT_ONCE // N)
    for start in range(0, resamples, step):
        rows = rng.choice(N, size=(min(step, resamples - start), N), replace=True)
        found.append(counts[rows].sum(axis=1))
    return np.concatenate(found)


def interval95(values: Counts) -> tuple[float, float]:
    """Return what holds 95% of R values, cut off as sacreBLEU does (1/40 a side)."""
    ordered = np.sort(values)
    outside = len(ordered) // 40
    return float(ordered[outside]), float(ordered[len(ordered) - outside - 1])


def bleu_scores(sums: Counts) -> Counts:
    """Compute BLEU from (…, 10): hypothesis and reference length, then 4 matches, 4 totals.

    Papineni et al. 2002, with the exponential smoothing of mteval-v13a: the k-th order without a
    match counts as 2^-k matches.
    """
    hypothesis, reference = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2 : 2 + ORDER], sums[..., 2 + ORDER :]
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.where(hypothesis < reference, np.exp(1 - reference / hypothesis), 1.0)
        zeros = np.cumsum((correct == 0) & (total > 0), axis=-1)
        smoothed = np.where(correct == 0, 0.5**zeros, correct)
        logs = np.where(total > 0, np.log(smoothed) - np.log(total), -np.inf)
        scores = 100 * brevity * np.exp(logs.mean(axis=-1))
    found: Counts = np.where((correct > 0).any(axis=-1) & (hypothesis > 0), scores, 0.0)
    return found


def chrf_scores(sums: Counts) -> Counts:
    """Compute chrF2 from (…, 18): for each n-gram order, those of hypothesis, reference, both.

    Popović 2015; orders that one side does not have are left out of the averages.
    """
    counts = sums.reshape(*sums.shape[:-1], CHARACTERS, 3)
    hypothesis, reference, matches = counts[..., 0], counts[..., 1], counts[..., 2]
    there = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(there.sum(axis=-1), 1)
    precision = np.where(there, matches / np.maximum(hypothesis, 1), 0).sum(axis=-1) / orders
    recall = np.where(there, matches / np.maximum(reference, 1), 0).sum(axis=-1) / orders
    below = BETA**2 * precision + recall
    above = 100 * (1 + BETA**2) * precision * recall
    found: Counts = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return found


@dataclass(frozen=True, kw_only=True)
class LengthBin:
    """Sentences of `low` to `high` words."""

    low: int
    high: int | None
    """None: any number."""
    rows: tuple[int, ...]
    """Which sentences, from 0."""

    @property
    def name(self) -> str:
        """Name the bin: `6-10`, or `> 15`."""
        return f"{self.low}-{self.high}" if self.high is not None else f"> {self.low - 1}"


def length_bins(
    sentences: Sequence[str], *, edges: Sequence[int]
) -> tuple[list[LengthBin], list[LengthBin]]:
    """Sort sentences by their number of words: what stands between spaces.

    Returns:
        Bins that end at each edge, and one above the last; and all sentences above each edge (but
        the last, which is a bin). Empty ones are left out.

    Raises:
        UsageFault: the edges do not rise.
    """
    if list(edges) != sorted(set(edges)) or any(edge < 1 for edge in edges):
        raise UsageFault(
            f"--bins {' '.join(map(str, edges))} do not rise.", hint="Write --bins 5 10 15 20."
        )
    lengths = [len(sentence.split()) for sentence in sentences]

    def between(low: int, high: int | None) -> LengthBin:
        most = math.inf if high is None else high
        rows = tuple(row for row, length in enumerate(lengths) if low <= length <= most)
        return LengthBin(low=low, high=high, rows=rows)

    starts = [0, *(edge + 1 for edge in edges)]
    bins = [between(low, high) for low, high in zip(starts, [*edges, None], strict=True)]
    above = [between(edge + 1, None) for edge in edges[:-1]]
    return [one for one in bins if one.rows], [one for one in above if one.rows]
