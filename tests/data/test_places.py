from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dlcli.data.storage import cache, data_dir, places


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
