"""The catalogue's entries, and the names that people type."""

from __future__ import annotations

import pytest

from dlcli.data.catalogue import (
    DATA_SETS,
    GLYPHS,
    MNIST,
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


@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)
def test_every_entry_says_what_it_is_and_how_it_is_checked(data_set) -> None:
    assert data_set.what
    assert data_set.licence
    assert data_set.embedded == (not data_set.sources)
    for check in data_set.files:
        for text in filter(None, (check.digest, check.fetched)):
            algorithm, _, digest = text.partition(":")
            assert len(digest) == {"md5": 32, "sha1": 40, "sha256": 64}[algorithm]
        assert check.size > 0 or (check.digest.startswith("sha256:") and not check.member)
        assert not check.name.startswith("/")
        unpacked = not check.name.endswith(".gz") and any(u.endswith(".gz") for u in check.urls)
        assert bool(check.fetched) == bool(check.member or unpacked)
        if data_set.reader == "splits":  # sizes and digests go with names, English first
            assert check.name.endswith((".en.gz", ".fr.gz"))
            assert (data_set.files.index(check) % 2 == 0) == (".en." in check.name)


def test_mnist_takes_the_bytes_of_its_four_files() -> None:
    assert MNIST.size == 60_000 * 785 + 10_000 * 785 + 2 * 16 + 2 * 8


def test_a_name_may_carry_a_number() -> None:
    assert named("glyphs:500:3") is GLYPHS


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no data set named 'mnits'") as caught:
        named("mnits")
    assert "did you mean 'mnist'?" in caught.value.hint
    assert "glyphs" in caught.value.hint
    assert "europarl+tatoeba" in caught.value.hint


def test_advice_is_a_copy_and_empty_for_what_is_unknown() -> None:
    assert recommended("mnist") == {}
    assert recommended("glyphs:50", "vae") == {}
    assert recommended("some/file.tsv", "nmt") == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("auto", False), ("mnist", False), ("glyphs:9", False), ("tatoeba", True), ("x.tsv", True)],
)
def test_names_tell_images_from_pairs(name: str, expected: bool) -> None:
    assert holds_pairs(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pairs.tsv", True),
        ("a.en,b.fr", True),
        ("pairs.txt.gz", True),
        ("pairs.zip", True),
        ("./pairs", True),
        ("x.tsv#1f2e3d4c", True),
        ("tatoeba", False),
        ("europarl-dev500k", False),
        ("glyphs:50", False),
    ],
)
def test_a_path_is_told_from_a_name(name: str, expected: bool) -> None:
    assert is_path(name) == expected


def test_a_path_with_a_plus_in_it_is_one_path() -> None:
    assert parts_of("europarl+tatoeba") == ["europarl", "tatoeba"]
    for name in ("tatoeba", "c++.tsv", "a+b.en,a+b.fr", "/home/a+b/c.tsv#1f2e3d4c"):
        assert parts_of(name) == [name]
