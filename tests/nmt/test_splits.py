from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError, DataError
from dlcli.nmt.batching import NmtData, load_data, with_saved_data
from dlcli.nmt.config import NmtDataConfig, NmtTrainConfig
from dlcli.nmt.tokenizer import Subwords, Words
from tests.nmt.runs import toy_file
from tests.nmt.sentences import write_tsv


def _load(folder: Path, **settings: object) -> tuple[NmtData, list[str]]:
    notes: list[str] = []
    config = NmtDataConfig(**{"name": toy_file(folder), "vocabulary": 320, **settings})  # type: ignore[arg-type]
    return load_data(config, notice=notes.append), notes


def test_pairs_are_encoded_with_the_vocabulary_learnt_from_them(tmp_path: Path) -> None:
    data, notes = _load(tmp_path)
    assert not notes
    assert data.name.startswith(str(tmp_path / "toy.tsv"))
    assert data.tokenizer.size == 320
    assert len(data) + len(data.valid) < 60
    assert data.tokenizer.decode(data.source[0]).startswith("The ")
    assert data.tokenizer.decode(data.target[0]).startswith("Le ")


def test_the_other_direction_has_the_same_pairs(tmp_path: Path) -> None:
    there, back = _load(tmp_path)[0], _load(tmp_path, direction="fr-en")[0]
    assert [there.tokenizer.decode(ids) for ids in there.source] == [
        back.tokenizer.decode(ids) for ids in back.target
    ]


def test_words_and_lower_case(tmp_path: Path) -> None:
    data, _ = _load(tmp_path, tokenizer="word", lowercase=True, vocabulary=1000)
    assert isinstance(data.tokenizer, Words)
    assert data.tokenizer.decode(data.source[0]).startswith("the ")


def test_long_pairs_are_left_out_with_a_notice(tmp_path: Path) -> None:
    whole, _ = _load(tmp_path)
    data, notes = _load(tmp_path, max_length=10)
    longest = max(max(map(len, data.source)), max(map(len, data.target)))
    assert longest <= 10
    assert f"{len(whole) - len(data)} of {len(whole)} training pairs are left out" in notes[0]


def test_no_pair_short_enough_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at most 1 tokens"):
        _load(tmp_path, max_length=1)


def test_fewer_pairs_when_asked(tmp_path: Path) -> None:
    data, _ = _load(tmp_path, train_pairs=7, validation=2)
    assert (len(data), len(data.valid)) == (7, 2)


def test_a_corpus_of_one_line_says_why_it_is_too_small(tmp_path: Path) -> None:
    write_tsv(tmp_path / "one.tsv", count=1)
    with pytest.raises(DataError) as caught:
        load_data(NmtDataConfig(name=str(tmp_path / "one.tsv")), notice=lambda _: None)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("given", "saved", "becomes"),
    [
        ("auto", "grammar", "grammar"),
        ("europarl", "europarl-dev500k", "europarl-dev500k"),
        ("tatoeba", "grammar", "tatoeba"),
        ("europarl+tatoeba", "europarl-dev500k+tatoeba", "europarl-dev500k+tatoeba"),
        ("europarl+tatoeba", "europarl-dev500k", "europarl+tatoeba"),
        ("toy.tsv", "{here}/toy.tsv#0123abcd", "{here}/toy.tsv#0123abcd"),
        ("b.fr,a.en", "{here}/a.en,{here}/b.fr#0123abcd", "{here}/a.en,{here}/b.fr#0123abcd"),
        ("other.tsv", "{here}/toy.tsv#0123abcd", "other.tsv"),
    ],
)
def test_a_run_that_goes_on_knows_its_corpus_by_the_name_it_was_given(
    given: str, saved: str, becomes: str, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    run.config_file.write_text(f"data: {{name: '{saved.format(here=tmp_path)}'}}\n")
    config = NmtTrainConfig(data=NmtDataConfig(name=given))
    assert with_saved_data(config, run).data.name == becomes.format(here=tmp_path)


def test_a_run_that_goes_on_keeps_its_vocabulary(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    Subwords.learn(["other words", "autres mots"], size=275).save(run.path)
    config = NmtDataConfig(name=toy_file(tmp_path), vocabulary=320)
    for which in ("resumed", "origin"):
        data = load_data(config, **{which: run}, notice=lambda _: None)  # type: ignore[arg-type]
        assert data.tokenizer.size == 275


def test_a_run_killed_before_its_vocabulary_was_written_learns_it_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    config = NmtDataConfig(name=toy_file(tmp_path), vocabulary=320)
    assert load_data(config, resumed=run, notice=lambda _: None).tokenizer.size == 320
    run.checkpoint().touch()
    with pytest.raises(CheckpointError, match="lost its vocabulary"):
        load_data(config, resumed=run, notice=lambda _: None)
