"""Files that are whole or not there, on disks that fill up and under processes that die."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dlcli.engine.files import write_whole
from dlcli.errors import RunFailed

FULL = OSError(errno.ENOSPC, "No space left on device")


def test_writes_what_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "un dossier d'été" / "poids finals.pt"
    path.parent.mkdir()
    write_whole(path, b"first")
    write_whole(path, memoryview(b"second"))
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == [path.name]


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    write_whole(tmp_path / "whole", b"")
    assert stat.S_IMODE((tmp_path / "whole").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("call", "raised", "seen"),
    [
        ("fsync", FULL, RunFailed),
        ("replace", FULL, RunFailed),
        ("fsync", KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failure_or_a_signal_at_any_point_leaves_the_old_file_and_nothing_else(
    call: str,
    raised: BaseException,
    seen: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: object) -> NoReturn:
        raise raised

    path = tmp_path / "last.pt"
    write_whole(path, b"good")
    monkeypatch.setattr(os, call, fail)
    message = r"last\.pt could not be written: No space left on device" if raised is FULL else "^$"
    with pytest.raises(seen, match=message):
        write_whole(path, b"half of it")
    assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["last.pt"]


def test_data_reaches_the_disk_before_the_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noted(*args: Any, name: str = name, real: Any = real) -> Any:
            done.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, noted)
    write_whole(tmp_path / "last.pt", b"x")
    assert done == ["fsync", "replace", "fsync"]  # the file, its name, the folder


def test_a_file_system_that_cannot_sync_folders_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_folder: object) -> NoReturn:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "open", refuse)
    write_whole(tmp_path / "last.pt", b"x")
    assert (tmp_path / "last.pt").read_bytes() == b"x"


def test_a_disk_that_is_really_full(tiny_disk: Path) -> None:
    path = tiny_disk / "last.pt"
    write_whole(path, b"a" * 400_000)
    with pytest.raises(RunFailed, match="No space left") as failure:
        write_whole(path, b"b" * 800_000)
    assert "Free some space" in failure.value.hint
    assert path.read_bytes() == b"a" * 400_000
    assert os.listdir(tiny_disk) == ["last.pt"]
