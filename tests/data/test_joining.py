from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.data.catalogue import is_joined, parts_of
from dlcli.data.corpora import JOINED_HELD_OUT as HELD_OUT
from dlcli.data.corpora import join, load_corpus
from dlcli.data.sentences import Corpus, Pairs
from dlcli.errors import ConfigError
from tests.data.corpus_files import corpus_files, lay_out, small_catalogue


def _corpus(name: str, *, train: str, valid: str = "", test: str = "") -> Corpus:
    """Make a corpus of one-letter English words whose French is the capital, with a mark."""
    pairs = [Pairs.of((f"{w}.", f"{w.upper()}'") for w in split) for split in (train, valid, test)]
    return Corpus(
        name=name,
        languages=("en", "fr"),
        train=pairs[0],
        valid=pairs[1],
        tests={"test": pairs[2]},
        dropped={"empty": len(name)},
    )


def test_all_are_trained_on_and_the_first_chooses_and_tests() -> None:
    one, two = _corpus("a", train="ab", valid="c", test="d"), _corpus("bb", train="ef", test="g")
    joined = join([one, two])
    assert joined.name == "a+bb"
    assert joined.train.source == ("a.", "b.", "e.", "f.")
    assert joined.train.target == ("A'", "B'", "E'", "F'")
    assert joined.train.first(3).source == ("a.", "b.", "e.")
    assert (joined.valid, joined.tests) == (one.valid, one.tests)
    assert joined.dropped == {"empty": 3}


def test_what_another_holds_out_is_not_trained_on() -> None:
    one, two = _corpus("a", train="ag", valid="c", test="d"), _corpus("b", train="cdef", test="g")
    joined = join([one, two])
    assert joined.train.source == ("a.", "e.", "f.")
    assert joined.dropped[HELD_OUT] == 3


def test_a_sentence_held_out_on_the_other_side_counts_without_case_and_marks() -> None:
    one = _corpus("a", train="a", valid="c")
    two = Corpus(
        name="b",
        languages=("en", "fr"),
        train=Pairs.of([("new", "C !"), ("C", "nouveau"), ("x", "y")]),
        valid=Pairs.of([]),
        tests={},
    )
    assert join([one, two]).train.source == ("a.", "x")


def test_an_own_repetition_stays() -> None:
    """Within one corpus the splits are its makers'."""
    one = _corpus("a", train="ac", valid="c")
    assert join([one, _corpus("b", train="e")]).train.source == ("a.", "c.", "e.")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_catalogue(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path))
    for name in ("europarl", "tatoeba"):
        lay_out(tmp_path, corpus_files(name))
    return tmp_path


def test_they_are_joined_by_name(own: Path) -> None:
    said: list[str] = []
    corpus = load_corpus("europarl+tatoeba", direction="fr-en", notice=said.append)
    parts = [load_corpus(name, notice=lambda _: None) for name in ("europarl", "tatoeba")]
    assert corpus.name == "europarl-dev500k+tatoeba"
    assert corpus.languages == ("fr", "en")
    assert corpus == join(parts).swapped()
    assert any("another cut" in line for line in said)


def test_a_path_with_the_mark_in_it_is_a_path() -> None:
    assert parts_of("europarl+tatoeba") == ["europarl", "tatoeba"]
    for name in ("tatoeba", "c++.tsv", "a+b.en,a+b.fr", "/home/a+b/c.tsv#1f2e3d4c"):
        assert not is_joined(name)
        assert parts_of(name) == [name]


@pytest.mark.parametrize("name", ["tatoeba+tatoeba", "tatoeba+auto"])
def test_what_makes_no_sense_is_refused(name: str, own: Path) -> None:
    with pytest.raises(ConfigError, match="does not name different corpora"):
        load_corpus(name)


@pytest.mark.parametrize("name", ["tatoeba+", "+tatoeba", "tatoeba+tatobea"])
def test_a_part_that_is_not_known_is_named(name: str, own: Path) -> None:
    with pytest.raises(ConfigError, match="There is no data set named"):
        load_corpus(name)
