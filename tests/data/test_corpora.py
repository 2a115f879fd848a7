"""Parallel corpora by name, by path, and several at once."""

from __future__ import annotations

import dataclasses
import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from dlcli.data import catalogue, corpora
from dlcli.data.catalogue import EUROPARL
from dlcli.data.corpora import HELD_OUT_ELSEWHERE, join, load_corpus, read_europarl
from dlcli.data.grammar import load_grammar
from dlcli.data.sentences import Corpus, Pairs, stable_hash
from dlcli.errors import ConfigError, DataError
from tests.data.conftest import (
    FILES,
    ROWS,
    Site,
    Tiny,
    digest_of,
    lay_out,
    tar_of,
    tatoeba_zip,
    zip_of,
)


@pytest.fixture
def two_corpora(tiny: Tiny, own: Path) -> None:
    lay_out(own, {**FILES["europarl-dev500k"], **FILES["tatoeba"]})


def _load(name: str | Path, **options: object) -> tuple[Corpus, list[str]]:
    said: list[str] = []
    return load_corpus(str(name), notice=said.append, **options), said  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["auto", "tatoeba"])
def test_tatoeba_is_read_from_the_users_folder(name: str, tiny: Tiny, own: Path) -> None:
    lay_out(own, FILES["tatoeba"])
    corpus, said = _load(name, offline=True)
    assert (corpus.name, corpus.languages, said) == ("tatoeba", ("en", "fr"), [])
    assert [len(corpus.train), len(corpus.valid), len(corpus.tests["test"])] == [24, 3, 3]
    other, _ = _load("tatoeba", direction="fr-en")
    assert other.languages == ("fr", "en")
    assert other == corpus.swapped()


def test_translations_of_one_sentence_stay_together(tiny: Tiny, own: Path) -> None:
    text = "".join(f"Go {n // 3}!\tVa {n} !\n" for n in range(60))
    lay_out(own, {"tatoeba/fra-eng.zip": tatoeba_zip(text)})
    corpus = corpora.read_tsv(tiny["tatoeba"], own)
    parts = [corpus.train, corpus.valid, corpus.tests["test"]]
    assert [len(set(part.source)) for part in parts] == [14, 3, 3]
    assert [len(part) for part in parts] == [42, 9, 9]


def test_multi30k_has_its_own_splits_and_its_text_as_it_is(tiny: Tiny, own: Path) -> None:
    lay_out(own, FILES["multi30k"])
    corpus, _ = _load("multi30k")
    assert list(corpus.tests) == ["test_2016_flickr", "test_2017_flickr"]
    for name, part in {"train": corpus.train, "val": corpus.valid, **corpus.tests}.items():
        assert part.source == tuple(f"{name} {english}" for english, _ in ROWS[:3])
        assert part.target == tuple(f"{name} {french}" for _, french in ROWS[:3])


def test_europarl_may_be_here_as_its_development_cut(tiny: Tiny, own: Path) -> None:
    lay_out(own, FILES["europarl-dev500k"])
    corpus, said = _load("europarl", offline=True)
    assert corpus.name == "europarl-dev500k"
    assert said == [
        "'europarl' is not here: taking 'europarl-dev500k', another cut of it. "
        "`dl data fetch europarl` gets the published one."
    ]
    assert _load("europarl-dev500k") == (corpus, [])


def test_auto_without_tatoeba_is_the_grammar_with_a_notice(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand_in(*, seed: int, train: int) -> Corpus:
        raise LookupError(f"grammar {seed} {train}")

    monkeypatch.setattr("dlcli.data.grammar.load_grammar", stand_in)
    said: list[str] = []
    with pytest.raises(LookupError, match="grammar 3 60000"):
        load_corpus("auto", offline=True, notice=said.append, seed=3)
    assert len(said) == 1
    assert "--offline forbids" in said[0]
    assert said[0].endswith("Taking 'grammar' in its place.")


def test_the_grammar_makes_no_more_training_pairs_than_wanted() -> None:
    few = load_corpus("grammar", direction="fr-en", train_pairs=3)
    none = load_corpus("grammar", direction="fr-en", train_pairs=0)
    assert [len(few.train), len(none.train)] == [3, 0]
    assert few.tests == none.tests
    assert few.train == load_grammar(train=7, valid=1, test=1).train.first(3).swapped()


def test_a_damaged_tatoeba_is_not_passed_over(tiny: Tiny, own: Path) -> None:
    lay_out(own, {"tatoeba/fra-eng.zip": b"no archive"})
    with pytest.raises(DataError, match=r"fra-eng\.zip is not the file of 'tatoeba'"):
        load_corpus("auto", offline=True)


def test_offline_is_an_error_with_the_ways_out(tiny: Tiny) -> None:
    with pytest.raises(DataError, match="--offline forbids fetching it") as caught:
        load_corpus("europarl", offline=True)
    assert "embedded set grammar" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("glyphs", "is no parallel corpus"),
        ("grammar:3", "is no parallel corpus"),
        ("tatoeba:5", "is no parallel corpus"),
        ("tatoeba:deu-fra", "is no parallel corpus"),
        ("multi30k:de-it", "is no parallel corpus"),
        ("tatoebe", "no data set named 'tatoebe'"),
        ("tatoeba+tatoeba", "does not name different corpora"),
        ("tatoeba+auto", "does not name different corpora"),
        ("tatoeba+", "name of the data set is empty"),
        ("+tatoeba", "name of the data set is empty"),
        ("tatoeba+tatobea", "no data set named 'tatobea'"),
        ("a,b,c", "names 3 files"),
        ("a,", "names 2 files"),
        (",b", "names 2 files"),
    ],
)
def test_what_names_no_corpora_is_refused(name: str, message: str, two_corpora: None) -> None:
    with pytest.raises(ConfigError, match=message):
        load_corpus(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photos", "photos is a folder, not a file of pairs"),
        ("./photos", "photos is a folder, not a file of pairs"),
        ("folder.tsv", r"folder\.tsv is a folder, not a file of pairs"),
        ("photos.npz", "is a file of images, not a file of pairs"),
        ("photoz", "no data set named 'photoz'"),
    ],
)
def test_what_is_no_file_of_pairs_says_what_it_is_and_names_only_sets_of_pairs(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "folder.tsv"):
        (tmp_path / folder).mkdir()
    (tmp_path / "photos.npz").touch()
    with pytest.raises(ConfigError, match=message) as caught:
        load_corpus(name)
    assert "a TSV" in caught.value.hint
    assert "two text files" in caught.value.hint
    assert "grammar" in caught.value.hint
    assert not {"mnist", "glyphs"} & set(caught.value.hint.replace(",", " ").split())


@pytest.mark.parametrize(
    ("name", "direction", "message"),
    [
        ("tatoeba", "en-de", "'tatoeba' has no direction 'en-de'"),
        ("multi30k:de-cs", "en-fr", "'multi30k:de-cs' has no direction 'en-fr'"),
        ("multi30k:de-en+tatoeba", None, "'tatoeba' has no direction 'de-en'"),
        ("tatoeba", "english", "no direction 'english'"),
        ("tatoeba", "a-b-c", "no direction 'a-b-c'"),
        ("tatoeba", "a|b-c", "no direction"),
    ],
)
def test_a_direction_that_a_corpus_does_not_have_is_refused_before_it_is_fetched(
    name: str, direction: str | None, message: str, tiny: Tiny, own: Path
) -> None:
    lay_out(own, FILES["multi30k"])
    with pytest.raises(ConfigError, match=message) as caught:
        load_corpus(name, direction=direction)
    assert caught.value.hint


def test_auto_fetches_tatoeba(site: Site, tiny: Tiny) -> None:
    site.serve("tatoeba")
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


def _archive(folder: Path, english: Sequence[str], french: Sequence[str]) -> Path:
    members = {
        f"europarl-v7.fr-en.{language}": "".join(f"{line}\n" for line in lines).encode()
        for language, lines in (("en", english), ("fr", french))
        if lines
    }
    return lay_out(folder, {"europarl/fr-en.tgz": tar_of(members)})


def _europarl(folder: Path, rows: list[tuple[str, str]], *, held_out: int) -> Corpus:
    folder = _archive(folder, *zip(*rows, strict=True))
    return read_europarl(EUROPARL, folder, held_out=held_out)


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
    corpus = _europarl(tmp_path, rows, held_out=3)
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
    corpus = _europarl(tmp_path, rows, held_out=2)
    order = sorted(rows, key=lambda row: stable_hash("\t".join(row)))
    for part, wanted in zip(_parts(corpus), (order[:2], order[2:4], order[4:]), strict=True):
        assert set(zip(part.source, part.target, strict=True)) == set(wanted)
    assert stable_hash("the sentence 0\tla phrase 0") == 2854538949716674772
    assert corpus.valid.source == ("the sentence 2", "the sentence 13")


def test_no_sentence_of_either_language_is_in_two_splits(tmp_path: Path) -> None:
    rows = [(f"the sentence {n % 40}", f"la phrase {n % 50}") for n in range(200)]
    corpus = _europarl(tmp_path, rows, held_out=15)
    valid, test, train = _parts(corpus)
    for one, other in ((valid, test), (valid, train), (test, train)):
        assert not set(one.source) & set(other.source)
        assert not set(one.target) & set(other.target)
    kept = len(valid) + len(test) + len(train)
    assert corpus.dropped == {"shared with valid or test": 200 - kept}


@pytest.mark.parametrize(
    ("french", "end", "message"),
    [
        (0, None, r"it has no europarl-v7\.fr-en\.fr"),
        (99, -40, r"fr-en\.tgz cannot be read"),
        (98, None, "differ in length"),
    ],
)
def test_a_wrong_archive_is_an_error(
    french: int, end: int | None, message: str, tmp_path: Path
) -> None:
    path = _archive(tmp_path, ["a b c"] * 99, ["d e f"] * french) / "europarl/fr-en.tgz"
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DataError, match=message):
        read_europarl(EUROPARL, tmp_path)


@pytest.mark.slow
def test_the_development_cut_is_read(real_data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (real_data_dir / "europarl").is_dir():
        pytest.skip(f"no Europarl at {real_data_dir}")
    monkeypatch.setenv("DL_DATA_DIR", str(real_data_dir))
    corpus, _ = _load("europarl-dev500k", offline=True)
    assert [len(part) for part in _parts(corpus)] == [2_000, 2_000, 500_000]
    assert corpus.dropped == {}


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
    one, two = _corpus("a", train="aac", valid="c", test="d"), _corpus("bb", train="ef", test="g")
    joined = join([one, two])
    assert joined.name == "a+bb"
    assert joined.train.source == ("a.", "a.", "c.", "e.", "f.")  # what repeats itself in one stays
    assert joined.train.target == ("A'", "A'", "C'", "E'", "F'")
    assert (joined.valid, joined.tests) == (one.valid, one.tests)
    assert joined.dropped == {"empty": 3}


def test_what_another_holds_out_is_not_trained_on() -> None:
    one, two = _corpus("a", train="ag", valid="c", test="d"), _corpus("b", train="cdef", test="g")
    joined = join([one, two])
    assert joined.train.source == ("a.", "e.", "f.")
    assert joined.dropped[HELD_OUT_ELSEWHERE] == 3


def test_a_sentence_held_out_on_the_other_side_counts_without_case_and_marks() -> None:
    two = dataclasses.replace(
        _corpus("b", train=""), train=Pairs.of([("new", "C !"), ("C", "nouveau"), ("x", "y")])
    )
    assert join([_corpus("a", train="a", valid="c"), two]).train.source == ("a.", "x")


def test_corpora_are_joined_by_name(two_corpora: None) -> None:
    corpus, said = _load("europarl+tatoeba", direction="fr-en")
    parts = [_load(name)[0] for name in ("europarl", "tatoeba")]
    assert corpus.name == "europarl-dev500k+tatoeba"
    assert corpus.languages == ("fr", "en")
    assert corpus == join(parts).swapped()
    assert any("another cut" in line for line in said)


LINES = [(f"sentence {n}", f"phrase {n}") for n in range(40)]


def _tsv(rows: list[tuple[str, str]], end: str = "\n") -> bytes:
    return "".join(f"{a}\t{b}{end}" for a, b in rows).encode()


def _pairs(corpus: Corpus) -> set[tuple[str, str]]:
    parts = [corpus.train, corpus.valid, *corpus.tests.values()]
    return {pair for part in parts for pair in zip(part.source, part.target, strict=True)}


@pytest.mark.parametrize(
    "data",
    [
        _tsv(LINES),
        _tsv(LINES, "\r\n"),
        b"\xef\xbb\xbf" + _tsv(LINES),
        _tsv(LINES).rstrip(b"\n"),
        _tsv([(a, f"{b}\tCC-BY") for a, b in LINES]),
        _tsv([(a.replace(" ", "\u2028"), b) for a, b in LINES]),
    ],
    ids=["unix", "windows", "byte order mark", "no last line end", "third column", "U+2028"],
)
def test_a_tsv_is_read_and_split(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(data)
    corpus, said = _load(tmp_path / "x.tsv")
    assert _pairs(corpus) == set(LINES)
    assert [len(corpus.train), len(corpus.valid), len(corpus.tests["test"])] == [32, 4, 4]
    assert corpus.valid.source[0] == "sentence 8"  # the same hash on every machine
    assert said == []


def test_two_files_and_their_packed_forms_give_the_same(tmp_path: Path) -> None:
    for column, language in enumerate(("en", "fr")):
        text = "".join(f"{row[column]}\n" for row in LINES).encode()
        (tmp_path / f"a.{language}").write_bytes(text)
        (tmp_path / f"b.{language}.gz").write_bytes(gzip.compress(text))
    plain, _ = _load(f"{tmp_path}/a.en,{tmp_path}/a.fr")
    packed, _ = _load(f"{tmp_path}/b.en.gz,{tmp_path}/b.fr.gz")
    turned, _ = _load(f"{tmp_path}/a.fr,{tmp_path}/a.en")
    assert plain.languages == packed.languages == turned.languages == ("en", "fr")
    assert plain.train == packed.train == turned.train
    assert plain.name == turned.name != packed.name


@pytest.mark.parametrize(
    ("names", "direction", "languages", "first"),
    [
        ("a.de,a.en", None, ("de", "en"), "Satz"),
        ("a.de,a.en", "de-en", ("de", "en"), "Satz"),
        ("a.de,a.en", "en-de", ("en", "de"), "sentence"),
        ("a.en,a.de", "de-en", ("de", "en"), "Satz"),
        ("a.1,a.2", "de-pt_BR", ("de", "pt_BR"), "Satz"),
        ("a.1,a.2:de-en", "en-de", ("en", "de"), "sentence"),
        ("x.tsv", None, ("en", "fr"), "Satz"),
        ("x.tsv", "fr-en", ("fr", "en"), "sentence"),  # 0.1.0: the first column is English
        ("x.tsv", "de-en", ("de", "en"), "Satz"),
        ("x.tsv:de-en", None, ("de", "en"), "Satz"),
        ("x.tsv:de-en", "en-de", ("en", "de"), "sentence"),
        ("x.tsv:fr-en", "fr-en", ("fr", "en"), "Satz"),
        ("x.de-en.tsv", "en-de", ("en", "de"), "sentence"),
        ("deu-eng.txt", None, ("de", "en"), "Satz"),
    ],
)
def test_files_are_of_any_pair_of_languages(
    names: str,
    direction: str | None,
    languages: tuple[str, str],
    first: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(f"Satz {n}", f"sentence {n}") for n in range(20)]
    for column, endings in enumerate((("de", "1"), ("en", "2"))):
        for ending in endings:
            Path(f"a.{ending}").write_text("".join(f"{row[column]}\n" for row in rows))
    for name in ("x.tsv", "x.de-en.tsv", "deu-eng.txt"):
        Path(name).write_bytes(_tsv(rows))
    corpus, said = _load(names, direction=direction)
    assert corpus.languages == languages
    assert corpus.train.source[0].startswith(first)
    assert said == []
    again, _ = _load(corpus.name, direction="-".join(languages))
    assert again == corpus, "by the name in a run's settings"
    turned, _ = _load(corpus.name, direction="-".join(languages[::-1]))
    assert (turned.valid, turned.tests) == (corpus.swapped().valid, corpus.swapped().tests)


@pytest.mark.parametrize("direction", ["en-fr", "fr-en"])
def test_files_that_0_1_0_called_english_and_french_keep_their_sides(
    direction: str, tmp_path: Path
) -> None:
    for name, word in (("a.de", "Satz"), ("a.en", "sentence")):
        (tmp_path / name).write_text("".join(f"{word} {n}\n" for n in range(5)))
    name = f"{tmp_path}/a.de,{tmp_path}/a.en"
    with pytest.raises(ConfigError, match=f"no direction '{direction}'"):
        _load(name, direction=direction)
    saved = _load(name)[0].name
    corpus, _ = _load(saved, direction=direction)
    assert corpus.train.source[0].startswith("Satz" if direction == "en-fr" else "sentence")


def test_text_in_other_letters_whose_languages_are_not_said_is_remarked_on(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("".join(f"猫 {n}\tкот {n}\n" for n in range(9)))
    assert "--source-lang" in _load(tmp_path / "x.tsv")[1][0]
    assert _load(f"{tmp_path}/x.tsv:zh-ru")[1] == []


def _anki_zip(text: str) -> bytes:
    return zip_of({"deu.txt": text, "_about.txt": "other"})


ANKI_TEXT = "".join(f"Sentence {n}.\tSatz {n}.\tCC-BY 2.0 (France) #{n}\n" for n in range(30))


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("tatoeba:deu-eng", ("de", "en")),
        ("tatoeba:de-en", ("de", "en")),
        ("tatoeba:eng-deu", ("en", "de")),
    ],
)
def test_tatoeba_has_other_languages_whose_version_is_in_the_name(
    name: str, languages: tuple[str, str], tiny: Tiny, own: Path
) -> None:
    lay_out(own, {"tatoeba/deu-eng.zip": _anki_zip(ANKI_TEXT)})
    corpus, said = _load(name, offline=True)
    assert corpus.languages == languages
    first = "Satz" if languages[0] == "de" else "Sentence"
    assert all(sentence.startswith(first) for sentence in corpus.train.source)
    assert [len(corpus.train), len(corpus.valid), len(corpus.tests["test"])] == [24, 3, 3]
    assert said == []
    assert _load(corpus.name, offline=True)[0] == corpus
    turned = _load(corpus.name, direction="-".join(languages[::-1]), offline=True)[0]
    assert turned == corpus.swapped()
    lay_out(own, {"tatoeba/deu-eng.zip": _anki_zip(ANKI_TEXT + "New.\tNeu.\n")})
    with pytest.raises(DataError, match=f"{corpus.name.partition('#')[0]} has changed"):
        _load(corpus.name, offline=True)


def test_other_languages_of_tatoeba_are_fetched(
    site: Site, tiny: Tiny, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["/deu-eng.zip"] = _anki_zip(ANKI_TEXT)
    monkeypatch.setattr(catalogue, "_ANKI_URL", f"{site.url}/")
    corpus, said = _load("tatoeba:deu-eng")
    assert said == [f"Fetching tatoeba:deu-eng from {site.url}/deu-eng.zip."]
    assert (cache_folder / "tatoeba/deu-eng.zip").is_file()
    assert _load("tatoeba:deu-eng", offline=True)[0] == corpus


def test_multi30k_has_german_and_czech_in_the_splits_that_have_both(
    tiny: Tiny, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        f"multi30k/{split}.{language}.gz": gzip.compress(f"{split} {language}\n".encode())
        for split in ("train", "val", "test_2016_flickr")
        for language in ("de", "cs")
    }
    lay_out(own, files)
    checks = {
        name.removeprefix("multi30k/").removesuffix(".gz"): (
            len(data),
            digest_of(data, "sha256").partition(":")[2],
        )
        for name, data in files.items()
    }
    monkeypatch.setattr(catalogue, "_MULTI30K_FILES", checks)
    corpus, _ = _load("multi30k:de-cs", offline=True)
    assert (corpus.name, corpus.languages) == ("multi30k:de-cs", ("de", "cs"))
    assert corpus.train == Pairs(source=("train de",), target=("train cs",))
    assert list(corpus.tests) == ["test_2016_flickr"]


def test_the_name_tells_a_changed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(_tsv(LINES))
    monkeypatch.chdir(tmp_path)
    corpus, _ = _load("x.tsv")
    assert corpus.name.startswith(f"{path}#")
    assert _load(corpus.name)[0] == corpus
    path.write_bytes(_tsv(LINES[1:]))
    with pytest.raises(DataError, match=r"x\.tsv has changed"):
        _load(corpus.name)


def test_bad_lines_are_counted_and_said(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(b"no tab\na\xff\tb\n" + _tsv(LINES))
    corpus, said = _load(tmp_path / "x.tsv")
    assert _pairs(corpus) == set(LINES)
    assert corpus.dropped == {"no tab": 1, "invalid UTF-8": 1}
    (sentence,) = said
    assert "2 of 42 lines left out: line 1 (no tab): 'no tab'; line 2 (invalid UTF-8)" in sentence


@pytest.mark.parametrize(
    ("rows", "quoted"),
    [
        ([(f'"{a}"', f'"{b}"') for a, b in LINES], "80 sentences"),
        ([*LINES, ('"He said ""no""."', "x")], "1 sentence"),
        ([*LINES, ('"No."', "Non.")], ""),
    ],
    ids=["every field", "fields with quotes", "a sentence in quotes"],
)
def test_a_table_with_quoted_fields_is_remarked_on(
    rows: list[tuple[str, str]], quoted: str, tmp_path: Path
) -> None:
    (tmp_path / "x.tsv").write_bytes(_tsv(rows))
    _, said = _load(tmp_path / "x.tsv")
    assert bool(said) == bool(quoted)
    assert not quoted or f"{quoted} in double quotes" in said[0]


def test_too_many_bad_lines_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(_tsv(LINES) + b"no tab\n" * 5)
    with pytest.raises(DataError, match=r"5 of 45 lines .*line 41 \(no tab\)"):
        _load(tmp_path / "x.tsv")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.tsv", r"none\.tsv does not exist"),
        ("pipe.tsv", r"pipe\.tsv is not a regular file"),
        ("broken.tsv.gz", r"broken\.tsv\.gz is damaged"),
    ],
)
def test_files_that_are_not_there_or_no_files_are_named(
    name: str, message: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.tsv")
    (tmp_path / "broken.tsv.gz").write_bytes(gzip.compress(_tsv(LINES))[:50])
    kind = ConfigError if name == "none.tsv" else DataError
    with pytest.raises(kind, match=message):
        _load(tmp_path / name)
