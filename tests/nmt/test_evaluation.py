"""Evaluating a translator whose words are known: sacreBLEU's scores, right order, right bins."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sacrebleu

from dlcli.engine.config import resolve
from dlcli.errors import ConfigError, DataError, UsageFault
from dlcli.nmt import evaluation as nmt_evaluation
from dlcli.nmt.config import NmtEvalConfig
from dlcli.nmt.evaluation import (
    STDIN,
    Parallel,
    check_same_direction,
    compare_evaluations,
    evaluate,
    load_parallel,
    parallel_files,
    read_joined,
    read_sentences,
    read_two,
    require_lines,
)
from dlcli.nmt.text import moses_available
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from tests.nmt.sentences import pairs, write_tsv
from tests.nmt.tiny_run import tiny_trained

FOUND = pairs(0, 30)
SENTENCES = Parallel(
    data="toy", split="test", source=tuple(FOUND.source), reference=tuple(FOUND.target)
)


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
        row = SENTENCES.source.index(line)
        whole = SENTENCES.reference[row]
        return " ".join(whole.split()[:-2]) if row % self.slip == 0 else whole


def test_scores_are_those_of_sacrebleu_in_the_right_order(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nmt_evaluation, "AT_ONCE", 7)
    translator, shares = Scripted(trained, slip=3), list[float]()
    found = evaluate(translator, SENTENCES, config(), at=lambda done, _: shares.append(done))
    assert list(found.translations) == [translator.of(line) for line in SENTENCES.source]
    references = [list(SENTENCES.reference)]
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
            for row, line in enumerate(SENTENCES.source)
            if len(line.split()) >= one.low and (one.high is None or len(line.split()) <= one.high)
        ]
        assert one.sentences == len(rows)
        wanted = sacrebleu.corpus_bleu(
            [found.translations[row] for row in rows], [[SENTENCES.reference[row] for row in rows]]
        )
        assert one.bleu.score == pytest.approx(wanted.score)
        assert one.low <= one.mean_words <= (one.high or 99)


@pytest.mark.skipif(not moses_available(), reason="sacremoses is not installed")
def test_tokenised_bleu_says_whose_tokens(trained: Trained) -> None:
    found = evaluate(Scripted(trained, slip=3), SENTENCES, config(lowercase=True))
    assert found.bleu_tokenized is not None
    assert found.bleu_tokenized.signature.endswith(f"|tokens:moses-fr-sacremoses-{version()}")
    assert "tok:none" in found.bleu_tokenized.signature
    assert "case:lc" in found.signature


def version() -> str:
    from dlcli.nmt.text import moses_version

    return moses_version()


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
    small = Parallel(data="toy", split="test", source=("The king.", ""), reference=("Le roi.", ""))
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


def parallel_config(**settings: object) -> NmtEvalConfig:
    return resolve(NmtEvalConfig, [settings])


def parallel_trained(folder: Path, *, direction: str = "en-fr") -> Trained:
    write_tsv(folder / "toy.tsv", count=80)
    return tiny_trained(folder / "run", data=str(folder / "toy.tsv"), direction=direction)


def test_the_runs_own_test_sentences(tmp_path: Path) -> None:
    found = load_parallel(parallel_trained(tmp_path), parallel_config(), notice=print)
    assert found.split == "test"
    assert found.data.startswith(str(tmp_path / "toy.tsv#"))
    assert len(found) == len(found.reference) > 0
    assert all(line.startswith("The ") for line in found.source)
    assert all(line.startswith("Le ") for line in found.reference)
    valid = load_parallel(trained_again(tmp_path), parallel_config(split="valid"), notice=print)
    assert not set(valid.source) & set(found.source)


def trained_again(folder: Path) -> Trained:
    return tiny_trained(folder / "again", data=str(folder / "toy.tsv"))


def test_a_run_of_several_corpora_is_evaluated_on_the_first(tmp_path: Path) -> None:
    both = tiny_trained(tmp_path / "both", data="grammar+europarl", direction="fr-en")
    found = load_parallel(both, parallel_config(), notice=print)
    assert (found.data, len(found)) == ("grammar", 1_000)
    assert found.source[0].startswith("L'accord sur")


def test_the_other_direction_and_another_corpus(tmp_path: Path) -> None:
    turned = load_parallel(
        parallel_trained(tmp_path, direction="fr-en"), parallel_config(), notice=print
    )
    assert all(line.startswith("Le ") for line in turned.source)
    write_tsv(tmp_path / "other.tsv", count=40)
    name = str(tmp_path / "other.tsv")
    assert (
        load_parallel(trained_again(tmp_path), parallel_config(data=name), notice=print).data[
            : len(name)
        ]
        == name
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "train"}, "training sentences"),
        ({"split": "test_2016"}, "no split 'test_2016'"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_what_is_not_there(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        load_parallel(parallel_trained(tmp_path), parallel_config(**settings), notice=print)


def test_two_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n\ntwo")
    (tmp_path / "b").write_text("un\n\ndeux\n")
    found = parallel_files(tmp_path / "a", tmp_path / "b")
    assert found is not None
    assert (found.source, found.reference) == (("one", "", "two"), ("un", "", "deux"))
    assert (found.data, found.split) == (str(tmp_path / "a"), "file")
    assert parallel_files(None, None) is None
    with pytest.raises(UsageFault, match="together") as caught:
        parallel_files(tmp_path / "a", None)
    assert "nmt translate" in caught.value.hint
    (tmp_path / "empty").write_text("")
    with pytest.raises(UsageFault, match="no lines"):
        parallel_files(tmp_path / "empty", tmp_path / "empty")


# -- Files of lines that belong together: none is lost, and what is wrong is named by its line


def written(folder: Path, data: bytes, name: str = "file") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"one\n\ntwo", ["one", "", "two"]),
        (b"\xef\xbb\xbfone\r\ntwo\r\n", ["one", "two"]),
        ("e\u0301t\u00e9\n".encode(), ["été"]),
        (b"\n", [""]),
    ],
)
def test_every_line_is_kept(tmp_path: Path, data: bytes, lines: list[str]) -> None:
    assert read_sentences(written(tmp_path, data)) == lines


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a ||| b\n")))
    assert read_joined(STDIN) == [("a", "b")]


@pytest.mark.parametrize("data", [b"fine\nbad \xff\n", b"fine\nnul \x00 byte\n"])
def test_a_line_that_is_no_text_is_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match="Line 2 of") as caught:
        read_sentences(written(tmp_path, data))
    assert "shift" in caught.value.hint


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere cannot be read: No such file"):
        read_sentences(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cannot be read"):
        read_sentences(tmp_path)


def test_two_files_go_line_by_line(tmp_path: Path) -> None:
    first, second = written(tmp_path, b"a\nb\n", "en"), written(tmp_path, b"c\n\n", "fr")
    assert read_two(first, second) == [("a", "c"), ("b", "")]
    with pytest.raises(DataError, match=r"en has 2 lines and .*one has 1"):
        read_two(first, written(tmp_path, b"c", "one"))


def test_joined_lines_have_two_sides(tmp_path: Path) -> None:
    assert read_joined(written(tmp_path, b"a b ||| c  \n|||\n")) == [("a b", "c"), ("", "")]
    for wrong in (b"a b c\n", b"a ||| b ||| c\n"):
        with pytest.raises(DataError, match="Line 1 of"):
            read_joined(written(tmp_path, wrong))


def test_something_must_be_there() -> None:
    require_lines(1, name="a.txt")
    with pytest.raises(UsageFault, match=r"a\.txt has no lines"):
        require_lines(0, name="a.txt")
