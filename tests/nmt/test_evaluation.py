"""Evaluating a translator whose words are known: sacreBLEU's scores, right order, right bins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sacrebleu

from dlcli.data.sentences import Pairs
from dlcli.engine.config import resolve
from dlcli.errors import ConfigError, DataError, UsageFault
from dlcli.nmt import evaluation as nmt_evaluation
from dlcli.nmt.config import NmtEvalConfig
from dlcli.nmt.evaluation import (
    Parallel,
    check_same_direction,
    compare_evaluations,
    evaluate,
    load_parallel,
    parallel_files,
)
from dlcli.nmt.text import moses_available, moses_version
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from tests.nmt.toy import pairs, tiny_trained, write_tsv

SENTENCES = Parallel(data="toy", split="test", pairs=pairs(0, 30))
SOURCE, REFERENCE = SENTENCES.pairs.source, SENTENCES.pairs.target


def config(**settings: object) -> NmtEvalConfig:
    return resolve(NmtEvalConfig, [{"bins": [5, 6, 7], "resamples": 100, **settings}])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return tiny_trained(tmp_path_factory.mktemp("nmt") / "run")


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
    monkeypatch.setattr(nmt_evaluation, "AT_ONCE", 7)
    translator, shares = Scripted(trained, slip=3), list[float]()
    found = evaluate(translator, SENTENCES, config(), at=lambda done, _: shares.append(done))
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


def test_a_real_model_runs_through(trained: Trained) -> None:
    two = Pairs(source=("The king.", ""), target=("Le roi.", ""))
    small = Parallel(data="toy", split="test", pairs=two)
    found = evaluate(Translator(trained), small, config(search={"beam_size": 1, "max_length": 5}))
    assert found.translations[1] == ""
    assert 0 <= found.bleu.score <= 100
    assert "search:greedy" in found.signature


def test_bins_must_rise_and_directions_agree(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="--bins 9 3"):
        evaluate(Scripted(trained, slip=2), SENTENCES, config(bins=[9, 3]))
    turned = Translator(tiny_trained(tmp_path / "run", direction="fr-en"))
    with pytest.raises(UsageFault, match="translates fr-en, not en-fr"):
        check_same_direction(Translator(trained), turned)


# -- What is translated: a split of the run's own corpus, another corpus, or two files


def load(trained: Trained, **settings: object) -> Parallel:
    return load_parallel(trained, resolve(NmtEvalConfig, [settings]), notice=print)


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "train"}, "training sentences"),
        ({"split": "test_2016"}, "no split 'test_2016'"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_what_is_not_there(of_toy: Trained, settings: dict[str, str], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        load(of_toy, **settings)


def test_two_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n\ntwo")
    (tmp_path / "b").write_text("un\n\ndeux\n")
    found = parallel_files(tmp_path / "a", tmp_path / "b")
    assert found is not None
    assert [*found.pairs.source] == ["one", "", "two"]
    assert [*found.pairs.target] == ["un", "", "deux"]
    assert (found.data, found.split) == (str(tmp_path / "a"), "file")
    assert parallel_files(None, None) is None
    with pytest.raises(UsageFault, match="together") as caught:
        parallel_files(tmp_path / "a", None)
    assert "nmt translate" in caught.value.hint
    (tmp_path / "empty").write_text("")
    with pytest.raises(UsageFault, match="no lines"):
        parallel_files(tmp_path / "empty", tmp_path / "empty")
