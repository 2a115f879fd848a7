""""""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dlcli.data.catalogue import DataSet, FileCheck
from dlcli.data.storage import (
    cache,
    check_file,
    check_set,
    data_dir,
    find,
    locked,
    move_into_place,
    open_checked,
    places,
    size_of,
    tell,
)
from dlcli.errors import DataError
from tests.data.conftest import write_files

CHECK = FileCheck(name="a/b", size=5, digest="md5:5d41402abc4b2a76b9719d911017c592")  # "hello"


def _write(folder: Path, data: bytes) -> Path:
    (folder / "a").mkdir()
    (folder / "a" / "b").write_bytes(data)
    return folder / "a" / "b"


def test_a_right_file_is_ok(tmp_path: Path) -> None:
    path = _write(tmp_path, b"hello")
    state = check_file(tmp_path, CHECK)
    assert (state.state, state.path, state.found) == ("ok", path, "")


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
        (b"jello", "md5 275876e34cf609db118f3d84b799a790"[:4]),
    ],
)
def test_a_wrong_file_says_what_was_expected_and_found(
    tmp_path: Path, data: bytes, found: str
) -> None:
    _write(tmp_path, data)
    state = check_file(tmp_path, CHECK)
    assert state.state == "wrong"
    assert state.expected == "5 bytes, md5 5d41402abc4b2a76b9719d911017c592"
    assert state.found.startswith(found)


def test_a_folder_in_place_of_a_file_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert check_file(tmp_path, CHECK).found == "a folder"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_file_is_wrong_and_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "b")
    assert check_file(tmp_path, CHECK).found == "not a regular file"


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = _write(tmp_path, b"hello")
    assert check_file(tmp_path, CHECK).state == "ok"
    path.write_bytes(b"jello")
    os.utime(path, ns=(1, 1))
    assert check_file(tmp_path, CHECK).state == "wrong"


def test_a_file_found_right_is_read_once_unless_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, b"hello")
    check_file(tmp_path, CHECK)

    def refuse(file: object, algorithm: str) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("dlcli.data.storage._digest", refuse)
    assert check_file(tmp_path, CHECK).state == "ok"
    again = check_file(tmp_path, CHECK, again=True)
    assert (again.state, again.found) == ("wrong", "it cannot be read (Input/output error)")


def test_find_takes_the_first_place_that_has_everything(
    tmp_path: Path,
    cache_folder: Path,
    tiny_mnist: DataSet,
    tiny_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "own"))
    assert find(tiny_mnist) is None
    write_files(cache_folder, tiny_files)
    assert find(tiny_mnist).kind == "cache"
    write_files(tmp_path / "own", tiny_files)
    assert find(tiny_mnist).kind == "$DL_DATA_DIR"
    (tmp_path / "own/MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    assert find(tiny_mnist).kind == "cache"


@pytest.mark.parametrize(("own", "way_out"), [(True, "unset $DL_DATA_DIR"), (False, "fetch mnist")])
def test_find_names_a_wrong_file_and_the_way_out(
    own: bool,
    way_out: str,
    tmp_path: Path,
    cache_folder: Path,
    tiny_mnist: DataSet,
    tiny_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "own" if own else cache_folder
    if own:
        monkeypatch.setenv("DL_DATA_DIR", str(folder))
        write_files(cache_folder, tiny_files)
    write_files(folder, tiny_files)
    wrong = folder / "MNIST/raw/train-images-idx3-ubyte"
    wrong.write_bytes(wrong.read_bytes()[:-100])
    with pytest.raises(DataError, match="train-images-idx3-ubyte is not") as caught:
        find(tiny_mnist)
    assert str(wrong) in caught.value.message
    assert "found 3,836 bytes" in caught.value.message
    assert way_out in caught.value.hint


def test_the_real_files_are_what_the_catalogue_says(real_data_dir: Path) -> None:
    from dlcli.data.catalogue import MNIST

    assert {state.state for state in check_set(real_data_dir, MNIST)} == {"ok"}


def _archive(folder: Path, members: dict[str, str]) -> Path:
    (folder / "a").mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "a" / "b", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return folder / "a" / "b"


IN_ARCHIVE = dataclasses.replace(CHECK, member="inner/text")


def test_a_check_may_be_of_what_an_archive_holds_however_it_is_packed(tmp_path: Path) -> None:
    _archive(tmp_path, {"about": "other", "inner/text": "hello"})
    assert check_file(tmp_path, IN_ARCHIVE).state == "ok"
    assert size_of(tmp_path, IN_ARCHIVE) == 5
    with open_checked(tmp_path, IN_ARCHIVE) as file:
        assert file.read() == b"hello"


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"other": "hello"}, "no zip archive with inner/text"),
        ({"inner/text": "hell"}, "4 bytes"),
        ({"inner/text": "jello"}, "md5 7aa699"),
    ],
)
def test_an_archive_of_something_else_is_wrong(
    members: dict[str, str], found: str, tmp_path: Path
) -> None:
    _archive(tmp_path, members)
    state = check_file(tmp_path, IN_ARCHIVE)
    assert state.state == "wrong"
    assert found in state.found
    assert state.expected.startswith("an archive with inner/text of 5 bytes")


def test_a_damaged_archive_is_wrong_and_not_a_crash(tmp_path: Path) -> None:
    path = _archive(tmp_path, {"inner/text": "hello"})
    data = bytearray(path.read_bytes())
    data[42] ^= 0xFF
    path.write_bytes(bytes(data))
    assert check_file(tmp_path, IN_ARCHIVE).state == "wrong"
    path.write_bytes(data[:-9])
    assert check_file(tmp_path, IN_ARCHIVE).state == "wrong"


def test_a_size_need_not_be_known(tmp_path: Path) -> None:
    check = dataclasses.replace(CHECK, size=0)
    _write(tmp_path, b"hello")
    assert check_file(tmp_path, check).state == "ok"
    (tmp_path / "a" / "b").write_bytes(b"jello!")
    state = check_file(tmp_path, check)
    assert (state.state, state.expected) == ("wrong", CHECK.digest)


def test_the_users_folder_comes_before_the_cache(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "données"))
    assert [(p.kind, p.folder, p.ours) for p in places()] == [
        ("$DL_DATA_DIR", tmp_path / "données", False),
        ("cache", cache_folder, True),
    ]


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_or_empty_variable_names_no_folder(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("DL_DATA_DIR", value)
    assert data_dir() is None
    assert len(places()) == 1


def test_relative_and_home_paths_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DL_DATA_DIR", "here")
    assert data_dir().folder == tmp_path / "here"
    monkeypatch.setenv("DL_DATA_DIR", "~/there")
    assert data_dir().folder == Path.home() / "there"


@pytest.mark.skipif(sys.platform != "linux", reason="the variable is the Linux way")
def test_the_cache_follows_the_systems_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache().folder == tmp_path / "dl" / "data"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.tgz"


def test_the_lock_is_given_back_when_the_block_fails(target: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(target, notice=said.append):
            raise ZeroDivisionError
    assert said == []


def test_a_lock_where_no_folder_can_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with (
        pytest.raises(DataError, match="could not be written") as caught,
        locked(tmp_path / "cache" / "file", notice=tell),
    ):
        pass
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_a_finished_file_replaces_what_was_there(tmp_path: Path, target: Path) -> None:
    for text in ("old", "new"):
        (tmp_path / "part").write_text(text)
        move_into_place(tmp_path / "part", target)
    assert target.read_text() == "new"
    assert not (tmp_path / "part").exists()


def test_a_folder_is_not_replaced(tmp_path: Path, target: Path) -> None:
    target.mkdir(parents=True)
    (tmp_path / "part").write_text("new")
    with pytest.raises(DataError, match="could not be written"):
        move_into_place(tmp_path / "part", target)
    assert (tmp_path / "part").exists()


def test_notices_of_library_users_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    tell("Something.")
    assert capsys.readouterr() == ("", "Something.\n")


def test_waiting_for_another_process_is_said(target: Path) -> None:
    said: list[str] = []
    code = (
        "import pathlib, sys\n"
        "from dlcli.data.storage import locked\n"
        f"with locked(pathlib.Path({str(target)!r}), notice=print):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:

        def hear(sentence: str) -> None:
            said.append(sentence)
            other.communicate(b"let go\n")

        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with locked(target, notice=hear):
            pass
    assert said == ["Waiting for another process that is fetching file.tgz."]
