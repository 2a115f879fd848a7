from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import time
from pathlib import Path

import pytest

from dlcli.data import fetch as npm
from dlcli.data.catalogue import FileCheck
from dlcli.data.fetch import Unreachable, fetch_from_npm
from tests.data.conftest import FakeNpm

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fake npm is a shell script")


def _check(name: str, data: bytes) -> FileCheck:
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return FileCheck(name=name, size=len(data), digest=f"md5:{digest}")


WANTED = (_check("SET/raw/one", b"1"), _check("SET/raw/two", b"22"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_expected_files_and_no_others_come_out(fake_npm: FakeNpm, folder: Path) -> None:
    calls = fake_npm(
        {"package/data/one": b"1", "package/data/two": b"22", "package/index.js": b"alert()"}
    )
    fetch_from_npm("a-package@1.0.0", folder, files=WANTED)
    assert _files(folder) == {"package-1.0.0.tgz", "SET/raw/one", "SET/raw/two"}
    assert (folder / "SET/raw/two").read_bytes() == b"22"
    assert calls.read_text().splitlines() == [
        "view a-package@1.0.0 dist.shasum",
        "pack a-package@1.0.0 --ignore-scripts",
    ]


def test_paths_of_the_archive_lead_nowhere(fake_npm: FakeNpm, folder: Path) -> None:
    fake_npm({"../../one": b"1", f"{folder.parent}/two": b"22"})
    fetch_from_npm("a-package@1.0.0", folder, files=WANTED)
    assert _files(folder) == {"package-1.0.0.tgz", "SET/raw/one", "SET/raw/two"}
    assert not (folder.parent / "two").exists()
    assert not (folder.parent.parent / "one").exists()


def test_a_file_of_another_size_is_not_unpacked(fake_npm: FakeNpm, folder: Path) -> None:
    fake_npm({"package/one": b"1" * 1_000, "package/two": b"22"})
    with pytest.raises(Unreachable, match="lacks one"):
        fetch_from_npm("a-package@1.0.0", folder, files=WANTED)
    assert not (folder / "SET/raw/one").exists()


def test_a_link_is_not_followed(tmp_path: Path, fake_npm: FakeNpm, folder: Path) -> None:
    fake_npm({})
    with tarfile.open(tmp_path / "programs" / "archive", "w:gz") as tar:
        link = tarfile.TarInfo("package/one")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        two = tarfile.TarInfo("package/two")
        two.size = 2
        tar.addfile(two, io.BytesIO(b"22"))
    with pytest.raises(Unreachable, match="lacks one"):
        fetch_from_npm("a-package@1.0.0", folder, files=WANTED)


def test_a_damaged_archive_is_unreachable(tmp_path: Path, fake_npm: FakeNpm, folder: Path) -> None:
    fake_npm({"package/one": b"1", "package/two": b"22"})
    archive = tmp_path / "programs" / "archive"
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(Unreachable, match="archive cannot be read"):
        fetch_from_npm("a-package@1.0.0", folder, files=WANTED)


def test_no_npm_is_unreachable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unreachable, match="npm is not installed"):
        fetch_from_npm("a-package@1.0.0", folder, files=WANTED)


@pytest.mark.parametrize("step", ["view", "pack"])
def test_npms_own_failure_is_told_with_its_code(fake_npm: FakeNpm, folder: Path, step: str) -> None:
    fake_npm({}, fails_at=step, says="npm error code ENOTFOUND")
    with pytest.raises(Unreachable, match=rf"npm {step} failed \(ENOTFOUND\)"):
        fetch_from_npm("a-package@1.0.0", folder, files=WANTED)


def test_a_registry_that_says_nothing_is_given_up(
    fake_npm: FakeNpm, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_npm({})
    (calls.parent / "npm").write_text("#!/bin/sh\nexec /bin/sleep 200\n")
    monkeypatch.setattr(npm, "_ASK_S", 0.2)
    began = time.monotonic()
    with pytest.raises(Unreachable, match="npm view took longer"):
        fetch_from_npm("a-package@1.0.0", folder, files=WANTED)
    assert time.monotonic() - began < 100


def test_a_program_that_cannot_run_is_unreachable(fake_npm: FakeNpm, folder: Path) -> None:
    calls = fake_npm({})
    (calls.parent / "npm").write_bytes(b"\x7fELF but not really")
    with pytest.raises(Unreachable, match="npm cannot be run"):
        fetch_from_npm("a-package@1.0.0", folder, files=WANTED)


def test_an_npm_that_leaves_nothing_is_unreachable(fake_npm: FakeNpm, folder: Path) -> None:
    calls = fake_npm({})
    (calls.parent / "npm").write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(Unreachable, match="left no archive"):
        fetch_from_npm("a-package@1.0.0", folder, files=WANTED)


def test_the_environment_reaches_npm_without_retries(
    fake_npm: FakeNpm, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_npm({})
    monkeypatch.setenv("SOME_PROXY", "kept")
    (calls.parent / "npm").write_text(
        f'#!/bin/sh\necho "$npm_config_fetch_retries $SOME_PROXY" >> "{calls}"\nexit 1\n'
    )
    with pytest.raises(Unreachable):
        fetch_from_npm("a-package@1.0.0", folder, files=WANTED)
    assert calls.read_text() == "0 kept\n"
    assert "npm_config_fetch_retries" not in os.environ
