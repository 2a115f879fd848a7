"""Scores against sacreBLEU's own, intervals against what they claim, and bins of lengths."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from dlcli.errors import UsageFault
from dlcli.nmt.scoring import (
    Metric,
    compare,
    interval95,
    length_bins,
    resampled_sums,
    score_corpus,
)

SENTENCE = "the cat sat on a mat with two small dogs near some old green trees"
WORDS = SENTENCE.split()


def sentences(count: int, *, seed: int, noise: float) -> tuple[list[str], list[str]]:
    """Return references, and copies in which each word is another with probability `noise`."""
    draw = random.Random(seed)
    references = [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) + "." for _ in range(count)]
    hypotheses = [
        " ".join(
            draw.choice(WORDS) if draw.random() < noise else word for word in reference.split()
        )
        for reference in references
    ]
    return hypotheses, references


METRICS = [
    (Metric(), BLEU()),
    (Metric(lowercase=True), BLEU(lowercase=True)),
    (Metric(tokenize="none"), BLEU(tokenize="none")),
    (Metric(name="chrf"), CHRF()),
    (Metric(name="chrf", lowercase=True), CHRF(lowercase=True)),
]


@pytest.mark.parametrize(("ours", "theirs"), METRICS)
def test_scores_and_intervals_are_sacrebleus(ours: Metric, theirs: BLEU | CHRF) -> None:
    hypotheses, references = sentences(40, seed=1, noise=0.3)
    hypotheses[3], references[5] = "", ""
    hypotheses[7] = hypotheses[7].upper()
    wanted = theirs.corpus_score(hypotheses, [references], n_bootstrap=200)
    found = score_corpus(ours.count(hypotheses, references), ours, resamples=200)
    assert found.score == pytest.approx(wanted.score, abs=1e-9)
    assert (found.ci95[1] - found.ci95[0]) / 2 == pytest.approx(wanted._ci, abs=1e-3)
    assert found.ci95[0] < wanted._mean < found.ci95[1]
    assert found.signature == theirs.get_signature().format()


@pytest.mark.parametrize(("ours", "theirs"), METRICS)
def test_single_sentences_too_match_or_not(ours: Metric, theirs: BLEU | CHRF) -> None:
    cases = [("", "a b"), ("a", ""), ("a", "a"), ("x y z", "a b c d e"), ("a b x d", "a b c d")]
    for hypothesis, reference in [*cases, ("a b c d e f", "a b c d"), ("a", "a b c d e")]:
        wanted = theirs.corpus_score([hypothesis], [[reference]]).score
        counts = ours.count([hypothesis], [reference])
        assert ours.score(counts[0]) == pytest.approx(wanted, abs=1e-9)


def test_resamples_in_pieces_are_those_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.arange(28.0).reshape(7, 4)
    whole = resampled_sums(counts, resamples=50)
    monkeypatch.setattr("dlcli.nmt.scoring.AT_ONCE", 22)
    np.testing.assert_array_equal(resampled_sums(counts, resamples=50), whole)


def test_the_paired_difference_agrees_with_sacrebleus_test() -> None:
    better, references = sentences(60, seed=2, noise=0.2)
    worse, _ = sentences(60, seed=2, noise=0.45)
    test = PairedTest(
        [("worse", worse), ("better", better)], {"BLEU": BLEU()}, [references], test_type="bs"
    )
    theirs = test()[1]["BLEU"][1]
    metric = Metric()
    first, second = (metric.count(one, references) for one in (better, worse))
    found = compare(first, second, metric, resamples=1000)
    assert found.p_value == pytest.approx(theirs.p_value, abs=2e-3)
    scores = [score_corpus(one, metric, resamples=10).score for one in (first, second)]
    assert found.value == pytest.approx(scores[0] - scores[1])
    assert 0 < found.ci95[0] < found.value < found.ci95[1]
    mirrored = compare(second, first, metric, resamples=1000)
    assert mirrored.ci95 == pytest.approx((-found.ci95[1], -found.ci95[0]))
    same = compare(first, first, metric, resamples=1000)
    assert (same.value, same.ci95, same.p_value) == (0, (0, 0), 1 / 1001)


def test_intervals_cover_the_score_of_all_sentences() -> None:
    """Samples of 150 of a population of 8,000: 95% claimed, 88 to 99 of 100 allowed."""
    hypotheses, references = sentences(8_000, seed=4, noise=0.3)
    metric = Metric()
    counts = metric.count(hypotheses, references)
    truth = metric.score(counts.sum(axis=0))
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        rows = rng.choice(len(counts), size=150)
        low, high = score_corpus(counts[rows], metric, resamples=200).ci95
        covered += low <= truth <= high
    assert 88 <= covered <= 99


def test_intervals_cut_a_fortieth_on_each_side() -> None:
    assert interval95(np.arange(1000.0)) == (25, 974)
    assert interval95(np.array([3.0])) == (3, 3)


def test_sentences_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="1 hypotheses for 2"):
        Metric().count(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="1 sentences against 2"):
        compare(np.zeros((1, 10)), np.zeros((2, 10)), Metric(), resamples=10)


# -- Bins by length: every sentence in one of them, in none twice

OF_LENGTHS = [" ".join(["word"] * length) for length in (3, 5, 6, 0, 21, 10, 5)]


def test_bins_part_the_sentences() -> None:
    bins, above = length_bins(OF_LENGTHS, edges=[5, 10, 15])
    assert [(one.low, one.high, one.name, one.rows) for one in bins] == [
        (0, 5, "0-5", (0, 1, 3, 6)),
        (6, 10, "6-10", (2, 5)),
        (16, None, "> 15", (4,)),
    ]
    assert [(one.name, one.rows) for one in above] == [("> 5", (2, 4, 5)), ("> 10", (4,))]
    assert length_bins([" two  words. "], edges=[1, 2, 5])[0][0].name == "2-2"


@pytest.mark.parametrize("edges", [[5, 5], [10, 5], [0, 5]])
def test_edges_must_rise(edges: list[int]) -> None:
    with pytest.raises(UsageFault, match="do not rise"):
        length_bins(["one"], edges=edges)
