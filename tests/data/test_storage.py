"""Where data sets are kept, and the checks of their files."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest

from dlcli.data.catalogue import MNIST, FileCheck
from dlcli.data.storage import (
    DataFolder,
    cache,
    check_file,
    check_set,
    data_folders,
    find,
    listing,
    path,
    to_stderr,
    user_folder,
    verify,
)
from dlcli.errors import ConfigError, DataError, UsageFault
from tests.data.conftest import FILES, Tiny, lay_out, zip_of

CHECK = FileCheck(name="a/b", size=5, digest="md5:5d41402abc4b2a76b9719d911017c592")  # "hello"


IN_ARCHIVE = dataclasses.replace(CHECK, member="inner/text")


def _write(folder: Path, data: bytes) -> Path:
    (folder / "a").mkdir()
    (folder / "a" / "b").write_bytes(data)
    return folder / "a" / "b"


def test_a_missing_file_and_a_missing_folder_are_missing(tmp_path: Path) -> None:
    assert check_file(tmp_path, CHECK).state == "missing"
    (tmp_path / "a").write_text("a file where a folder should be")
    assert check_file(tmp_path, CHECK).state == "missing"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "0 bytes"),
        (b"hell", "4 bytes"),
        (b"hello ", "6 bytes"),
        (b"jello", "md5 7aa6991a62353dd2761280cf592542dc"),
    ],
)
def test_a_wrong_file_says_what_was_expected_and_found(
    tmp_path: Path, data: bytes, found: str
) -> None:
    _write(tmp_path, data)
    state = check_file(tmp_path, CHECK)
    assert (state.state, state.found) == ("wrong", found)
    assert state.expected == "5 bytes, md5 5d41402abc4b2a76b9719d911017c592"


def test_a_folder_or_a_pipe_in_place_of_a_file_is_wrong_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert check_file(tmp_path, CHECK).found == "a folder"
    if hasattr(os, "mkfifo"):
        (tmp_path / "a" / "b").rmdir()
        os.mkfifo(tmp_path / "a" / "b")
        assert check_file(tmp_path, CHECK).found == "not a regular file"


def test_a_file_found_right_is_read_once_unless_it_changes_or_again(
    tmp_path: Path,
) -> None:
    path = _write(tmp_path, b"hello")
    os.utime(path, ns=(1, 1))
    assert check_file(tmp_path, CHECK, read="never").state == "ok"
    state = check_file(tmp_path, CHECK)
    assert (state.state, state.path, state.found) == ("ok", path, "")
    path.write_bytes(b"jello")
    os.utime(path, ns=(1, 1))
    assert check_file(tmp_path, CHECK).state == "ok"
    assert check_file(tmp_path, CHECK, read="again").state == "wrong"
    os.utime(path, ns=(2, 2))
    assert check_file(tmp_path, CHECK).state == "wrong"


def test_a_file_that_cannot_be_read_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, b"hello")

    def refuse(file: object, algorithm: str) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("dlcli.data.storage.file_digest", refuse)
    state = check_file(tmp_path, CHECK)
    assert (state.state, state.found) == ("wrong", "it cannot be read (Input/output error)")


def test_the_first_folder_that_has_everything_is_taken_and_listed(
    tiny: Tiny, own: Path, cache_folder: Path
) -> None:
    def where() -> tuple[str, Path | None]:
        rows = {row.data_set.name: row for row in listing()}
        assert list(rows) == [name for name in tiny if name != "europarl-dev500k"]
        assert (rows["glyphs"].where, rows["glyphs"].folder) == ("embedded", None)
        found = find(tiny["mnist"])
        assert rows["mnist"].where == (found.kind if found else "")
        return rows["mnist"].where, rows["mnist"].folder

    assert where() == ("", None)
    with pytest.raises(DataError, match="`path` fetches nothing"):
        path("mnist")
    lay_out(cache_folder, FILES["mnist"])
    assert where() == ("cache", cache_folder / "MNIST/raw")
    lay_out(own, FILES["mnist"])
    assert where() == ("$DL_DATA_DIR", own / "MNIST/raw")
    assert path("mnist") == own / "MNIST/raw"
    (own / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    assert where() == ("cache", cache_folder / "MNIST/raw")


@pytest.mark.parametrize("way_out", ["unset $DL_DATA_DIR", "fetch mnist"])
def test_find_names_a_wrong_file_and_the_way_out(
    way_out: str, tiny: Tiny, own: Path, cache_folder: Path
) -> None:
    folder = lay_out(own if "unset" in way_out else cache_folder, FILES["mnist"])
    lay_out(cache_folder, FILES["mnist"])
    wrong = folder / "MNIST/raw/train-images-idx3-ubyte"
    wrong.write_bytes(wrong.read_bytes()[:-100])
    with pytest.raises(DataError, match="train-images-idx3-ubyte is not") as caught:
        find(tiny["mnist"])
    assert str(wrong) in caught.value.message
    assert "found 3,836 bytes" in caught.value.message
    assert way_out in caught.value.hint


def test_the_real_files_are_what_the_catalogue_says(real_data_dir: Path) -> None:
    folder = DataFolder(kind="cache", path=real_data_dir)
    assert {state.state for state in check_set(folder, MNIST)} == {"ok"}


def test_a_check_may_be_of_what_an_archive_holds_however_it_is_packed(tmp_path: Path) -> None:
    _write(tmp_path, zip_of({"about": "other", "inner/text": "hello"}))
    assert check_file(tmp_path, IN_ARCHIVE).state == "ok"
    assert check_file(tmp_path, IN_ARCHIVE, read="never").state == "ok"


RIGHT = zip_of({"inner/text": "hello"})


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (zip_of({"other": "hello"}), "no zip archive with inner/text"),
        (zip_of({"inner/text": "hell"}), "4 bytes"),
        (zip_of({"inner/text": "jello"}), "md5 7aa699"),
        (RIGHT[:42] + bytes([RIGHT[42] ^ 0xFF]) + RIGHT[43:], "a damaged archive"),
        (RIGHT[:-9], "a damaged archive"),
    ],
)
def test_an_archive_of_something_else_or_damaged_is_wrong(
    data: bytes, found: str, tmp_path: Path
) -> None:
    _write(tmp_path, data)
    state = check_file(tmp_path, IN_ARCHIVE)
    assert state.state == "wrong"
    assert found in state.found
    assert state.expected.startswith("an archive with inner/text of 5 bytes")


def test_a_size_need_not_be_known(tmp_path: Path) -> None:
    check = dataclasses.replace(CHECK, size=0)
    path = _write(tmp_path, b"hello")
    assert check_file(tmp_path, check).state == "ok"
    path.write_bytes(b"jello!")
    state = check_file(tmp_path, check)
    assert (state.state, state.expected) == ("wrong", CHECK.digest)


def test_folders_are_absolute_and_the_users_comes_first(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, folder in (
        ("here", tmp_path / "here"),
        ("~/there", Path.home() / "there"),
        (str(tmp_path / "données"), tmp_path / "données"),
    ):
        monkeypatch.setenv("DL_DATA_DIR", value)
        assert [(f.kind, f.path, f.ours) for f in data_folders()] == [
            ("$DL_DATA_DIR", folder, False),
            ("cache", cache_folder, True),
        ]
    monkeypatch.setenv("DL_DATA_DIR", "")
    assert [f.kind for f in data_folders()] == ["cache"]
    monkeypatch.delenv("DL_DATA_DIR")
    assert user_folder() is None


@pytest.mark.skipif(sys.platform != "linux", reason="the variable is the Linux way")
def test_the_cache_follows_the_systems_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache().path == tmp_path / "dl" / "data"


def test_notices_of_library_users_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr("Something.")
    assert capsys.readouterr() == ("", "Something.\n")


def test_verify_reports_every_file_of_every_folder_that_has_any(
    tiny: Tiny, own: Path, cache_folder: Path
) -> None:
    assert verify() == ()
    (nowhere,) = verify(["mnist"])
    assert (nowhere.state, nowhere.folder.kind) == ("missing", "cache")
    lay_out(cache_folder, FILES["mnist"])
    lay_out(own, FILES["mnist"])
    (own / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"")
    (own / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    first, second = verify()
    assert (first.name, first.folder.kind, first.state) == ("mnist", "$DL_DATA_DIR", "wrong")
    assert [file.state for file in first.files] == ["wrong", "ok", "ok", "missing"]
    assert (second.folder.kind, second.state) == ("cache", "ok")
    assert verify(["mnist"]) == (first, second)
    (own / "MNIST/raw/train-images-idx3-ubyte").unlink()
    assert [report.state for report in verify()] == ["missing", "ok"]


@pytest.mark.parametrize("ask", [path, lambda name: verify([name])])
def test_embedded_sets_have_no_files_and_unknown_ones_no_name(ask) -> None:
    with pytest.raises(UsageFault, match="has no files"):
        ask("glyphs")
    with pytest.raises(ConfigError, match="no data set"):
        ask("mnits")
