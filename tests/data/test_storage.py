from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dlcli.data.storage import locked, move_into_place, tell
from dlcli.errors import DataError


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
