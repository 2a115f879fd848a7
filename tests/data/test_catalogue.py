"""The catalogue's entries, and the names that people type."""

from __future__ import annotations

import pytest

from dlcli.data import corpora, images
from dlcli.data.catalogue import (
    DATA_SETS,
    GLYPHS,
    MNIST,
    UNPUBLISHED,
    describe,
    direction_of,
    holds_pairs,
    is_path,
    named,
    parts_of,
    recommended,
)
from dlcli.errors import ConfigError


def test_names_are_unique_and_plain() -> None:
    names = [data_set.name for data_set in DATA_SETS]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() and name.islower() for name in names)


@pytest.mark.parametrize(
    "data_set",
    [*DATA_SETS, *UNPUBLISHED, named("multi30k:cs-en")],
    ids=lambda data_set: data_set.name,
)
def test_every_entry_says_what_it_is_who_reads_it_and_how_it_is_checked(data_set) -> None:
    assert data_set.what
    assert data_set.licence
    assert data_set.embedded == (not data_set.sources)
    readers = images.READERS if data_set.kind == "images" else corpora.READERS
    assert data_set.embedded or data_set.reader in readers
    for check in data_set.files:
        for text in filter(None, (check.digest, check.fetched)):
            algorithm, _, digest = text.partition(":")
            assert len(digest) == {"md5": 32, "sha1": 40, "sha256": 64}[algorithm]
        assert check.size > 0 or not check.member
        assert not check.name.startswith("/")
        unpacked = not check.name.endswith(".gz") and any(u.endswith(".gz") for u in check.urls)
        assert bool(check.fetched) == bool(check.member or unpacked)
        if data_set.reader == "splits":  # sizes and digests go with names, the source first
            source, target = data_set.languages
            assert check.name.endswith((f".{source}.gz", f".{target}.gz"))
            assert (data_set.files.index(check) % 2 == 0) == (f".{source}." in check.name)


def test_mnist_takes_the_bytes_of_its_four_files() -> None:
    assert MNIST.size == 60_000 * 785 + 10_000 * 785 + 2 * 16 + 2 * 8


def test_a_name_may_carry_a_number_and_an_unknown_one_suggests_the_nearest() -> None:
    assert named("glyphs:500:3") is GLYPHS
    with pytest.raises(ConfigError, match="no data set named 'mnits'") as caught:
        named("mnits")
    assert "did you mean 'mnist'?" in caught.value.hint
    assert "europarl+tatoeba" in caught.value.hint


def test_advice_is_empty_for_what_is_unknown_and_a_card_names_the_licence() -> None:
    assert [recommended(name, "nmt") for name in ("mnist", "some/file.tsv")] == [{}, {}]
    assert recommended("grammar", "nmt")["loop"]["epochs"] == 2
    assert describe("glyphs:9") == f"glyphs:9: {GLYPHS.what}; licence: the package's own"


@pytest.mark.parametrize(
    ("name", "path", "pairs"),
    [
        ("pairs.tsv", True, True),
        ("a.en,b.fr", True, True),
        ("pairs.txt.gz", True, True),
        ("pairs.zip", True, True),
        ("./pairs", True, True),
        ("x.tsv#1f2e3d4c", True, True),
        ("x.tsv:de-en", True, True),
        ("a.1,b.2:de-en#1f2e3d4c", True, True),
        ("tatoeba:deu-eng", False, True),
        ("tatoeba:deu-eng#1f2e3d4c", False, True),
        ("multi30k:de-en+tatoeba:deu-eng", False, True),
        ("tatoeba", False, True),
        ("europarl+tatoeba", False, True),
        ("auto", False, False),
        ("mnist", False, False),
        ("glyphs:50", False, False),
    ],
)
def test_a_path_is_distinguished_from_a_name_and_images_from_pairs(
    name: str, path: bool, pairs: bool
) -> None:
    assert (is_path(name), holds_pairs(name)) == (path, pairs)


@pytest.mark.parametrize("name", ["", "  ", "#1f2e3d4c", "tatoeba+"])
def test_an_empty_name_is_not_the_current_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="name of the data set is empty"):
        holds_pairs(name)


def test_a_path_with_a_plus_in_it_is_one_path() -> None:
    assert parts_of("europarl+tatoeba") == ["europarl", "tatoeba"]
    for name in ("tatoeba", "c++.tsv", "a+b.en,a+b.fr", "/home/a+b/c.tsv#1f2e3d4c"):
        assert parts_of(name) == [name]


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("auto", None),
        ("tatoeba", "en-fr"),
        ("tatoeba:cmn-eng", "zh-en"),
        ("tatoeba:eng-ja", "en-ja"),
        ("multi30k:cs-de", "cs-de"),
        ("multi30k:de-en+tatoeba:deu-eng", "de-en"),
        ("a.de,b.en", "de-en"),
        ("a.fr.gz,b.en.gz", "fr-en"),
        ("a.pt-BR,b.zh_Hant", "pt_BR-zh_Hant"),
        ("a.txt,b.out", None),
        ("pairs.tsv", None),
        ("up-to.tsv", None),
        ("x/pairs.de-cs.tsv.gz", "de-cs"),
        ("x.tsv:klingon-Elvish", "klingon-Elvish"),
        ("mnist", None),
        ("nothing", None),
    ],
)
def test_what_a_name_says_of_its_languages(name: str, direction: str | None) -> None:
    assert direction_of(name) == direction


def test_what_is_not_published_has_no_place_in_the_list_and_a_card_says_how_to_make_the_like() -> (
    None
):
    assert named("europarl-dev500k") not in DATA_SETS
    assert "`--data europarl`" in describe("europarl-dev500k")
