""""""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from dlcli.data import corpora as tatoeba
from dlcli.data.catalogue import DataSet, is_joined, parts_of
from dlcli.data.corpora import JOINED_HELD_OUT as HELD_OUT
from dlcli.data.corpora import (
    join,
    load_corpus,
    pair_hash,
    read_europarl,
    read_europarl_dev,
    read_gzipped,
    read_multi30k,
    read_tatoeba,
)
from dlcli.data.grammar import load_grammar
from dlcli.data.sentences import Corpus, Pairs, Tally
from dlcli.errors import ConfigError, DataError
from tests.data.conftest import Site
from tests.data.corpus_files import ROWS, corpus_files, lay_out, small_catalogue, zipped

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


def _archive(folder: Path, english: Sequence[str], french: Sequence[str], **names: str) -> Path:
    (folder / "europarl").mkdir()
    with tarfile.open(folder / "europarl/fr-en.tgz", "w:gz") as tar:
        for language, lines in (("en", english), ("fr", french)):
            data = "".join(f"{line}\n" for line in lines).encode()
            entry = tarfile.TarInfo(names.get(language, f"europarl-v7.fr-en.{language}"))
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return folder


def _parts(corpus: Corpus) -> list[Pairs]:
    return [corpus.valid, corpus.tests["test"], corpus.train]


def test_the_rule_leaves_out_what_it_says(tmp_path: Path) -> None:
    rows = [(f"the sentence {n}", f"la phrase {n}") for n in range(20)]
    rows += [
        rows[0],  # a duplicate
        ("", "vide"),
        ("word " * 51, "mot " * 51),
        ("word " * 50, "mot " * 50),
        ("one", "un deux trois quatre"),
        ("one", "un deux trois"),
        ("bad\x00", "mauvais"),
    ]
    corpus = read_europarl(_archive(tmp_path, *zip(*rows, strict=True)), held_out=3)
    assert corpus.dropped == {
        "duplicate pair": 1,
        "empty side": 1,
        "more than 50 words": 1,
        "length ratio over 3": 1,
        "control characters": 1,
    }
    assert [len(part) for part in _parts(corpus)] == [3, 3, 16]
    assert (corpus.name, corpus.languages) == ("europarl", ("en", "fr"))


def test_the_smallest_hashes_are_held_out(tmp_path: Path) -> None:
    rows = [(f"the sentence {n}", f"la phrase {n}") for n in range(20)]
    corpus = read_europarl(_archive(tmp_path, *zip(*rows, strict=True)), held_out=2)
    order = sorted(rows, key=lambda row: pair_hash(*row))
    for part, wanted in zip(_parts(corpus), (order[:2], order[2:4], order[4:]), strict=True):
        assert set(zip(part.source, part.target, strict=True)) == set(wanted)
    assert pair_hash("the sentence 0", "la phrase 0") == 2854538949716674772
    assert corpus.valid.source == ("the sentence 2", "the sentence 13")


def test_no_sentence_of_either_language_is_in_two_splits(tmp_path: Path) -> None:
    rows = [(f"the sentence {n % 40}", f"la phrase {n % 50}") for n in range(200)]
    corpus = read_europarl(_archive(tmp_path, *zip(*rows, strict=True)), held_out=15)
    valid, test, train = _parts(corpus)
    for one, other in ((valid, test), (valid, train), (test, train)):
        assert not set(one.source) & set(other.source)
        assert not set(one.target) & set(other.target)
    kept = len(valid) + len(test) + len(train)
    assert corpus.dropped == {"shared with valid or test": 200 - kept}


def test_an_archive_without_a_language_is_an_error(tmp_path: Path) -> None:
    folder = _archive(tmp_path, ["a"], ["b"], fr="other.fr")
    with pytest.raises(DataError, match=r"it has no europarl-v7\.fr-en\.fr"):
        read_europarl(folder)


def test_a_cut_archive_is_an_error(tmp_path: Path) -> None:
    path = _archive(tmp_path, ["a b c"] * 99, ["d e f"] * 99) / "europarl/fr-en.tgz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"fr-en\.tgz cannot be read"):
        read_europarl(tmp_path)


def test_sides_of_different_length_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="differ in length"):
        read_europarl(_archive(tmp_path, ["a", "b"], ["c"]))


@pytest.mark.slow
def test_the_development_cut_is_read(real_data_dir: Path) -> None:
    if not (real_data_dir / "europarl").is_dir():
        pytest.skip(f"no Europarl at {real_data_dir}")
    corpus = read_europarl_dev(real_data_dir)
    assert corpus.name == "europarl-dev500k"
    assert [len(part) for part in _parts(corpus)] == [2_000, 2_000, 500_000]
    assert corpus.dropped == {}


def _write(folder: Path, english: bytes, french: bytes) -> Path:
    (folder / "x.en.gz").write_bytes(english)
    (folder / "x.fr.gz").write_bytes(french)
    return folder / "x"


def test_two_files_are_one_split(tmp_path: Path) -> None:
    stem = _write(tmp_path, gzip.compress(b"a\n\nc\n"), gzip.compress(b"x\ny\nz\n"))
    tally = Tally()
    pairs = read_gzipped(stem, tally=tally)
    assert (pairs.source, pairs.target) == (("a", "c"), ("x", "z"))
    assert dict(tally.dropped) == {"empty side": 1}


@pytest.mark.parametrize("french", [b"not packed", gzip.compress(b"x\n" * 99)[:-9]])
def test_what_cannot_be_unpacked_is_named(french: bytes, tmp_path: Path) -> None:
    stem = _write(tmp_path, gzip.compress(b"a\n" * 99), french)
    with pytest.raises(DataError, match=r"x\.\{en,fr\}\.gz cannot be read"):
        read_gzipped(stem, tally=Tally())


def test_files_of_different_length_are_an_error(tmp_path: Path) -> None:
    stem = _write(tmp_path, gzip.compress(b"a\nb\n"), gzip.compress(b"x\n"))
    with pytest.raises(DataError, match="differ in length"):
        read_gzipped(stem, tally=Tally())


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
def joining_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_catalogue(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path))
    for name in ("europarl", "tatoeba"):
        lay_out(tmp_path, corpus_files(name))
    return tmp_path


def test_they_are_joined_by_name(joining_own: Path) -> None:
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
def test_what_makes_no_sense_is_refused(name: str, joining_own: Path) -> None:
    with pytest.raises(ConfigError, match="does not name different corpora"):
        load_corpus(name)


@pytest.mark.parametrize("name", ["tatoeba+", "+tatoeba", "tatoeba+tatobea"])
def test_a_part_that_is_not_known_is_named(name: str, joining_own: Path) -> None:
    with pytest.raises(ConfigError, match="There is no data set named"):
        load_corpus(name)


def test_captions_keep_their_case_and_their_splits(tmp_path: Path) -> None:
    lay_out(tmp_path, corpus_files("multi30k"))
    corpus = read_multi30k(tmp_path)
    assert list(corpus.tests) == ["test_2016_flickr", "test_2017_flickr"]
    for name, part in {"train": corpus.train, "val": corpus.valid, **corpus.tests}.items():
        assert part.source == tuple(f"{name} {english}" for english, _ in ROWS[:3])
        assert part.target == tuple(f"{name} {french}" for _, french in ROWS[:3])


def test_translations_of_one_sentence_stay_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(f"Go {n // 3}!", f"Va {n} !") for n in range(60)]
    text = "".join(f"{a}\t{b}\n" for a, b in rows)
    lay_out(tmp_path, {"tatoeba/fra-eng.zip": zipped(text)})
    monkeypatch.setattr(tatoeba, "TATOEBA_HELD_OUT", 4)
    corpus = read_tatoeba(tmp_path)
    parts = [corpus.train, corpus.valid, corpus.tests["test"]]
    assert [len(set(part.source)) for part in parts] == [12, 4, 4]
    assert [len(part) for part in parts] == [36, 12, 12]
    assert corpus.name == "tatoeba"
