"""Sentences of a training: what is loaded, how it is cut into batches, and in which order."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError, DataError
from dlcli.nmt.batching import (
    Bitext,
    NmtData,
    batch_order,
    cut,
    epoch_order,
    load_data,
    with_saved_data,
)
from dlcli.nmt.config import NmtDataConfig, NmtTrainConfig
from dlcli.nmt.tokenizer import BOS, EOS, PAD, Subwords, Words
from tests.nmt.toy import toy_file, write_tsv

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=80)


def test_a_batch_is_padded_and_masked() -> None:
    bitext = Bitext([[5], [6, 7, 8], []], [[9, 10], [11], [12]], device=CPU)
    batch = bitext.batch(np.array([1, 0]))
    assert batch.source.tolist() == [[6, 7, 8, EOS], [5, EOS, PAD, PAD]]
    assert batch.mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.target_in.tolist() == [[BOS, 11, PAD], [BOS, 9, 10]]
    assert batch.target_out.tolist() == [[11, EOS, PAD], [9, 10, EOS]]
    assert batch.tokens == 5
    assert len(bitext) == 3
    assert bitext.longer.tolist() == [3, 4, 2]
    empty = Bitext([[]], [[]], device=CPU).batch(np.array([0]))
    assert empty.source.tolist() == empty.target_out.tolist() == [[EOS]]
    assert empty.target_in.tolist() == [[BOS]]


@settings(deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 200), unit=st.sampled_from(["tokens", "sentences"]))
def test_batches_are_all_pairs_and_none_is_too_large(
    lengths: list[int], size: int, unit: str
) -> None:
    rising = np.sort(lengths)
    bounds = cut(rising, size=size, unit=unit)
    assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
    assert bounds[-1][1] == len(lengths)
    for start, stop in bounds:
        cost = (stop - start) * (int(rising[stop - 1]) if unit == "tokens" else 1)
        assert stop - start >= 1
        assert cost <= size or stop - start == 1
    for (start, stop), (_, following) in itertools.pairwise(bounds):
        grown = (stop + 1 - start) * (int(rising[stop]) if unit == "tokens" else 1)
        assert grown > size, "no batch could have taken the next pair too"
        assert following > stop


@settings(deadline=None)
@given(lengths=LENGTHS, window=st.integers(1, 9), epoch=st.integers(0, 3))
def test_an_epoch_has_every_pair_once_by_rising_length(
    lengths: list[int], window: int, epoch: int
) -> None:
    longer, other = np.array(lengths), np.arange(len(lengths)) % 7
    order = epoch_order(longer, other=other, seed=1, epoch=epoch, window=window)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(longer[order]) >= 0).all()
    again = epoch_order(longer, other=other, seed=1, epoch=epoch, window=window)
    assert order.tolist() == again.tolist()


def test_windows_of_equal_length_are_sorted_by_the_other_side() -> None:
    longer, other = np.full(40, 9), np.arange(40) % 9
    order = epoch_order(longer, other=other, seed=0, epoch=0, window=8)
    for start in range(0, 40, 8):
        assert (np.diff(other[order[start : start + 8]]) >= 0).all()
    assert (np.diff(other[order]) < 0).any()


def test_neighbours_and_the_order_of_batches_change_with_the_epoch_and_the_seed() -> None:
    longer, other = np.repeat([3, 5, 7], 50), np.zeros(150, int)
    orders = [
        epoch_order(longer, other=other, seed=seed, epoch=epoch).tolist()
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    places = [batch_order(30, seed=s, epoch=e) for s, e in ((0, 0), (0, 1), (1, 0))]
    assert places[0] != places[1] != places[2] != places[0]
    assert sorted(places[0]) == list(range(30))


@pytest.mark.parametrize("unit", ["tokens", "sentences"])
def test_little_is_padding(unit: str) -> None:
    rng = np.random.default_rng(0)
    source = [[5] * n for n in rng.integers(3, 30, 2000)]
    target = [[5] * max(1, len(ids) + int(rng.integers(-3, 4))) for ids in source]
    bitext = Bitext(source, target, device=CPU)
    order = epoch_order(bitext.longer, other=bitext.source_lengths, seed=0, epoch=0)
    size = 600 if unit == "tokens" else 20
    real = padded = 0
    for start, stop in cut(np.sort(bitext.longer), size=size, unit=unit):
        batch = bitext.batch(order[start:stop])
        real, padded = real + batch.tokens, padded + batch.target_out.numel()
    assert real > 0.85 * padded


def _load(folder: Path, **settings: object) -> tuple[NmtData, list[str]]:
    notes: list[str] = []
    config = NmtDataConfig(**{"name": toy_file(folder), "vocabulary": 320, **settings})  # type: ignore[arg-type]
    return load_data(config, notice=notes.append), notes


def test_pairs_are_encoded_with_the_vocabulary_learnt_from_them(tmp_path: Path) -> None:
    data, notes = _load(tmp_path)
    back, _ = _load(tmp_path, direction="fr-en")
    assert not notes
    assert data.name.startswith(str(tmp_path / "toy.tsv"))
    assert data.tokenizer.size == 320
    assert len(data) + len(data.valid) < 60
    source = [data.tokenizer.decode(ids) for ids in data.source]
    assert source[0].startswith("The ")
    assert data.tokenizer.decode(data.target[0]).startswith("Le ")
    assert source == [back.tokenizer.decode(ids) for ids in back.target]


def test_words_and_lower_case_and_fewer_pairs(tmp_path: Path) -> None:
    data, _ = _load(
        tmp_path, tokenizer="word", lowercase=True, vocabulary=1000, train_pairs=7, validation=2
    )
    assert isinstance(data.tokenizer, Words)
    assert data.tokenizer.decode(data.source[0]).startswith("the ")
    assert (len(data), len(data.valid)) == (7, 2)


def test_long_pairs_are_left_out_with_a_notice(tmp_path: Path) -> None:
    whole, _ = _load(tmp_path)
    data, notes = _load(tmp_path, max_length=10)
    assert max(map(len, [*data.source, *data.target])) <= 10
    assert f"{len(whole) - len(data)} of {len(whole)} training pairs are left out" in notes[0]
    with pytest.raises(DataError, match="at most 1 tokens"):
        _load(tmp_path, max_length=1)


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


def test_a_run_that_goes_on_keeps_its_vocabulary_where_it_was_written(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    config = NmtDataConfig(name=toy_file(tmp_path), vocabulary=320)
    assert load_data(config, resumed=run, notice=lambda _: None).tokenizer.size == 320
    run.checkpoint().touch()
    with pytest.raises(CheckpointError, match="lost its vocabulary"):
        load_data(config, resumed=run, notice=lambda _: None)
    Subwords.learn(["other words", "autres mots"], size=275).save(run.path)
    for data in (
        load_data(config, resumed=run, notice=lambda _: None),
        load_data(config, origin=run, notice=lambda _: None),
    ):
        assert data.tokenizer.size == 275
