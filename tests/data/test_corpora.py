from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dlcli.data.catalogue import DataSet
from dlcli.data.corpora import load_corpus
from dlcli.data.grammar.corpus import load_grammar
from dlcli.data.sentences import Corpus
from dlcli.errors import ConfigError, DataError
from tests.data.conftest import Site
from tests.data.corpus_files import ROWS, corpus_files, lay_out, small_catalogue

Catalogue = dict[str, DataSet]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """Small corpora that nobody serves."""
    return small_catalogue(monkeypatch, "http://127.0.0.1:9")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(seed: int, most: int | None) -> Corpus:
        assert most is None
        raise LookupError(f"grammar {seed}")

    monkeypatch.setattr("dlcli.data.corpora._grammar", stand_in)


def _load(name: str, **options: object) -> tuple[Corpus, list[str]]:
    said: list[str] = []
    return load_corpus(name, notice=said.append, **options), said  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["auto", "tatoeba"])
def test_tatoeba_is_read_from_the_users_folder(name: str, small: Catalogue, own: Path) -> None:
    lay_out(own, corpus_files("tatoeba"))
    corpus, said = _load(name, offline=True)
    assert (corpus.name, corpus.languages, said) == ("tatoeba", ("en", "fr"), [])
    assert [len(corpus.train), len(corpus.valid), len(corpus.tests["test"])] == [24, 3, 3]


def test_the_other_direction_has_the_same_splits(small: Catalogue, own: Path) -> None:
    lay_out(own, corpus_files("tatoeba"))
    one, _ = _load("tatoeba")
    other, _ = _load("tatoeba", direction="fr-en")
    assert other.languages == ("fr", "en")
    assert other == one.swapped()


def test_multi30k_has_its_own_splits(small: Catalogue, own: Path) -> None:
    lay_out(own, corpus_files("multi30k"))
    corpus, _ = _load("multi30k")
    assert list(corpus.tests) == ["test_2016_flickr", "test_2017_flickr"]
    assert corpus.valid.source[0] == "val sentence 0."
    assert corpus.split("test").target[2] == "test_2016_flickr phrase 2."


def test_europarl_may_be_here_as_its_development_cut(small: Catalogue, own: Path) -> None:
    lay_out(own, corpus_files("europarl"))
    corpus, said = _load("europarl", offline=True)
    assert corpus.name == "europarl-dev500k"
    assert said == [
        "'europarl' is not here: taking 'europarl-dev500k', another cut of it. "
        "`dl data fetch europarl` gets the published one."
    ]
    assert _load("europarl-dev500k") == (corpus, [])


def test_auto_without_tatoeba_is_the_grammar_with_a_notice(
    small: Catalogue, no_grammar: None
) -> None:
    said: list[str] = []
    with pytest.raises(LookupError, match="grammar 3"):
        load_corpus("auto", offline=True, notice=said.append, seed=3)
    assert len(said) == 1
    assert "--offline forbids" in said[0]
    assert said[0].endswith("Taking 'grammar' in its place.")


def test_the_grammar_makes_no_more_training_pairs_than_are_asked_for() -> None:
    few = load_corpus("grammar", direction="fr-en", train_pairs=3)
    none = load_corpus("grammar", direction="fr-en", train_pairs=0)
    assert [len(few.train), len(none.train)] == [3, 0]
    assert few.tests == none.tests
    assert few.train == load_grammar(train=7, valid=1, test=1).train.first(3).swapped()


def test_a_damaged_tatoeba_is_not_passed_over(small: Catalogue, own: Path) -> None:
    lay_out(own, {"tatoeba/fra-eng.zip": b"no archive"})
    with pytest.raises(DataError, match=r"fra-eng\.zip is not the file of 'tatoeba'"):
        load_corpus("auto", offline=True)


@pytest.mark.parametrize("name", ["tatoeba", "multi30k", "europarl", "europarl-dev500k"])
def test_offline_is_an_error_with_the_ways_out(name: str, small: Catalogue) -> None:
    with pytest.raises(DataError, match="--offline forbids fetching it") as caught:
        load_corpus(name, offline=True)
    assert "--data grammar" in caught.value.hint


@pytest.mark.parametrize("name", ["tatoeba", "multi30k", "europarl"])
def test_a_silent_host_is_named(name: str, small: Catalogue) -> None:
    with pytest.raises(DataError, match=r"127\.0\.0\.1 does not answer"):
        load_corpus(name, notice=lambda _: None)


def test_the_development_cut_is_not_published(small: Catalogue) -> None:
    with pytest.raises(DataError, match="it is not published"):
        load_corpus("europarl-dev500k", notice=lambda _: None)


@pytest.mark.parametrize("name", ["glyphs", "grammar:3", "tatoeba:5"])
def test_what_is_no_corpus_is_refused(name: str, small: Catalogue) -> None:
    with pytest.raises(ConfigError, match="is no parallel corpus"):
        load_corpus(name)


def test_unknown_names_and_directions_are_refused(small: Catalogue) -> None:
    with pytest.raises(ConfigError, match="no data set named 'tatoebe'") as caught:
        load_corpus("tatoebe")
    assert "did you mean 'tatoeba'" in caught.value.hint
    with pytest.raises(ConfigError, match="no direction 'en-de'"):
        load_corpus("tatoeba", direction="en-de")


def test_a_path_is_a_users_corpus(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in ROWS))
    corpus, _ = _load(str(tmp_path / "x.tsv"), direction="fr-en")
    assert corpus.train.source[0].startswith("phrase")


def test_two_loads_at_once_fetch_once(
    site: Site, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_catalogue(monkeypatch, site.url)
    site.files = {f"/{name}": data for name, data in corpus_files("multi30k").items()}
    found: list[Corpus] = []
    threads = [
        threading.Thread(target=lambda: found.append(_load("multi30k")[0])) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    gets = [path for method, path, _ in site.asked if method == "GET"]
    assert sorted(gets) == sorted(site.files)
    assert (cache_folder / "multi30k/val.fr.gz").is_file()


def test_tatoeba_is_fetched_and_its_text_checked(
    site: Site, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_catalogue(monkeypatch, site.url)
    site.files = {f"/{name}": data for name, data in corpus_files("tatoeba").items()}
    corpus, said = _load("auto")
    assert corpus.name == "tatoeba"
    assert said == [
        "Fetching tatoeba from http://d2l-data.s3-accelerate.amazonaws.com/fra-eng.zip."
    ]


def test_the_real_tatoeba_and_multi30k(
    real_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DL_DATA_DIR", str(real_data_dir))
    corpus, _ = _load("tatoeba", offline=True)
    assert len(corpus.train) + len(corpus.valid) + len(corpus.tests["test"]) == 167_130
    assert [len(corpus.valid), len(corpus.tests["test"])] == [2_942, 2_920]
    assert len({source.casefold() for source in corpus.valid.source}) >= 2_000
    for side in ("source", "target"):
        parts = (corpus.train, corpus.valid, corpus.tests["test"])
        sets = [set(getattr(part, side)) for part in parts]
        assert sum(map(len, sets)) == len(set().union(*sets))
    captions, _ = _load("multi30k", offline=True)
    assert [len(captions.train), len(captions.valid)] == [29_000, 1_014]
    assert [len(pairs) for pairs in captions.tests.values()] == [1_000, 1_000]
