"""What is translated: a split of the run's own corpus, another corpus, or two files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.engine.config import resolve
from dlcli.errors import ConfigError, DataError, UsageFault
from dlcli.nmt.config import NmtEvalConfig
from dlcli.nmt.evaluation import load_parallel, parallel_files
from dlcli.nmt.trained import Trained
from tests.nmt.sentences import write_tsv
from tests.nmt.tiny_run import tiny_trained


def config(**settings: object) -> NmtEvalConfig:
    return resolve(NmtEvalConfig, [settings])


def trained(folder: Path, *, direction: str = "en-fr") -> Trained:
    write_tsv(folder / "toy.tsv", count=80)
    return tiny_trained(folder / "run", data=str(folder / "toy.tsv"), direction=direction)


def test_the_runs_own_test_sentences(tmp_path: Path) -> None:
    found = load_parallel(trained(tmp_path), config(), notice=print)
    assert found.split == "test"
    assert found.data.startswith(str(tmp_path / "toy.tsv#"))
    assert len(found) == len(found.reference) > 0
    assert all(line.startswith("The ") for line in found.source)
    assert all(line.startswith("Le ") for line in found.reference)
    valid = load_parallel(trained_again(tmp_path), config(split="valid"), notice=print)
    assert not set(valid.source) & set(found.source)


def trained_again(folder: Path) -> Trained:
    return tiny_trained(folder / "again", data=str(folder / "toy.tsv"))


def test_a_run_of_several_corpora_is_evaluated_on_the_first(tmp_path: Path) -> None:
    both = tiny_trained(tmp_path / "both", data="grammar+europarl", direction="fr-en")
    found = load_parallel(both, config(), notice=print)
    assert (found.data, len(found)) == ("grammar", 1_000)
    assert found.source[0].startswith("L'accord sur")


def test_the_other_direction_and_another_corpus(tmp_path: Path) -> None:
    turned = load_parallel(trained(tmp_path, direction="fr-en"), config(), notice=print)
    assert all(line.startswith("Le ") for line in turned.source)
    write_tsv(tmp_path / "other.tsv", count=40)
    name = str(tmp_path / "other.tsv")
    assert (
        load_parallel(trained_again(tmp_path), config(data=name), notice=print).data[: len(name)]
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
        load_parallel(trained(tmp_path), config(**settings), notice=print)


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
