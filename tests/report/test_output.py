"""Files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcli.display.console import write_file
from dlcli.errors import DlError


def test_the_folder_is_made_and_the_path_is_absolute() -> None:
    path = write_file(Path("a folder/é/x.bin"), b"data")
    assert path == Path.cwd() / "a folder/é/x.bin"
    assert path.read_bytes() == b"data"
    assert [child.name for child in path.parent.iterdir()] == ["x.bin"]


@pytest.mark.parametrize("place", ["file/x.png", "folder"])
def test_a_place_that_cannot_be_written_is_named(place: str) -> None:
    Path("file").write_text("in the way")
    Path("folder").mkdir()
    with pytest.raises(DlError) as caught:
        write_file(Path(place), b"data")
    assert str(Path.cwd() / place.split("/")[0]) in caught.value.message
    assert caught.value.hint


def test_what_was_there_stays_when_writing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file(Path("x.png"), b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DlError, match="No space left"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [child.name for child in path.parent.iterdir()] == ["x.png"]
