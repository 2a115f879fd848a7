""""""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dlcli.data import fetch
from dlcli.data.fetch import Unreachable, complete, download, fetch_file, reachable
from dlcli.errors import DataError
from tests.data.conftest import Site

BODY = bytes(range(256)) * 2_000  # 512,000 bytes: several chunks
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
CHUNK = 65_536  # what arrives short of one is fetched again
NOBODY = "http://127.0.0.1:9/file"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.tgz"


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _complete(site: Site, target: Path, *, attempts: int = 4, size: int | None = None) -> None:
    target.parent.mkdir(exist_ok=True)
    complete([f"{site.url}/file"], target, digest=DIGEST, size=size, attempts=attempts, pause_s=0.0)


def test_a_download_arrives_whole_and_leaves_nothing_beside_it(site: Site, target: Path) -> None:
    site.files["/file"] = BODY
    seen: list[tuple[int, int | None]] = []
    got = fetch_file(
        [f"{site.url}/file"],
        target,
        digest=DIGEST,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert got == target
    assert target.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {p.name for p in target.parent.iterdir()} <= {"file.tgz", ".file.tgz.lock"}


def test_what_is_there_is_not_fetched_again(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(BODY)
    fetch_file([f"{site.url}/file"], target, digest=DIGEST)
    assert site.asked == []


def test_what_is_there_but_wrong_is_replaced(site: Site, target: Path) -> None:
    site.files["/file"] = BODY
    target.parent.mkdir()
    target.write_bytes(b"something else")
    fetch_file([f"{site.url}/file"], target, digest=DIGEST)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_a_cut_download_goes_on_where_it_stopped(
    site: Site, target: Path, size: int | None
) -> None:
    site.files["/file"] = BODY
    site.cut_after = [3 * CHUNK, CHUNK]
    _complete(site, target, size=size)
    assert target.read_bytes() == BODY
    assert [wanted for _, _, wanted in site.asked] == ["", "bytes=196608-", "bytes=262144-"]


def test_another_process_goes_on_where_this_one_stopped(site: Site, target: Path) -> None:
    site.files["/file"] = BODY
    site.cut_after = [3 * CHUNK]
    with pytest.raises(Unreachable, match="cut after 196,608 bytes"):
        _complete(site, target, attempts=0)
    assert not target.exists()
    fetch_file([f"{site.url}/file"], target, digest=DIGEST)
    assert target.read_bytes() == BODY
    assert site.asked[-1][2] == "bytes=196608-"


def test_a_server_that_ignores_range_is_read_from_the_start(site: Site, target: Path) -> None:
    site.files["/file"] = BODY
    site.ranges = False
    site.cut_after = [3 * CHUNK]
    _complete(site, target)
    assert target.read_bytes() == BODY


def test_a_server_that_always_cuts_is_given_up(site: Site, target: Path) -> None:
    site.files["/file"] = BODY
    site.ranges = False
    site.cut_after = [3 * CHUNK] * 20
    with pytest.raises(Unreachable, match="cut after 196,608"):
        _complete(site, target, attempts=3)
    assert len(site.asked) == 4  # one that brought something new, three that did not


def test_another_part_than_asked_for_is_refused(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["/file"] = BODY
    target.parent.mkdir()
    _part(target).write_bytes(BODY[:1_000])
    monkeypatch.setattr(fetch, "_begins_at", lambda response, offset: False)
    with pytest.raises(Unreachable, match="another part of the file"):
        download(f"{site.url}/file", _part(target))
    assert _part(target).read_bytes() == BODY[:1_000]


def test_wrong_bytes_are_thrown_away(site: Site, target: Path) -> None:
    site.files["/file"] = BODY[:-1] + b"x"
    with pytest.raises(DataError, match="checksum"):
        fetch_file([f"{site.url}/file"], target, digest=DIGEST)
    assert not target.exists()
    assert not _part(target).exists()


def test_a_partial_file_of_something_else_is_had_anew(site: Site, target: Path) -> None:
    site.files["/file"] = BODY
    target.parent.mkdir()
    _part(target).write_bytes(b"x" * 1_000)
    _complete(site, target)
    assert target.read_bytes() == BODY
    assert [wanted for _, _, wanted in site.asked] == ["bytes=1000-", ""]


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_a_partial_file_longer_than_the_file_is_had_anew(
    site: Site, target: Path, size: int | None
) -> None:
    site.files["/file"] = BODY
    target.parent.mkdir()
    _part(target).write_bytes(BODY + b"more")
    _complete(site, target, size=size)
    assert target.read_bytes() == BODY


def test_a_partial_file_that_is_whole_needs_no_network(target: Path) -> None:
    target.parent.mkdir()
    _part(target).write_bytes(BODY)
    fetch_file([NOBODY], target, digest=DIGEST)
    assert target.read_bytes() == BODY


def test_more_than_the_expected_size_is_not_written_to_the_disk(site: Site, target: Path) -> None:
    site.files["/file"] = BODY
    with pytest.raises(Unreachable, match="more than the expected 1,000 bytes"):
        _complete(site, target, size=1_000, attempts=1)
    assert _part(target).stat().st_size == 0


def test_the_next_address_is_asked_where_one_fails(site: Site, target: Path) -> None:
    site.files["/file"] = BODY
    target.parent.mkdir()
    complete(
        [NOBODY, f"{site.url}/gone", f"{site.url}/file"],
        target,
        digest=DIGEST,
        attempts=1,
        pause_s=0.0,
    )
    assert target.read_bytes() == BODY


def test_an_answer_that_will_not_change_is_not_asked_for_again(site: Site, target: Path) -> None:
    with pytest.raises(Unreachable, match="status 404"):
        _complete(site, target)
    assert len(site.asked) == 1


def test_a_server_in_trouble_is_asked_again(site: Site, target: Path) -> None:
    site.status = 503
    with pytest.raises(Unreachable, match="status 503"):
        _complete(site, target, attempts=3)
    assert len(site.asked) == 3


def test_the_error_says_that_it_will_go_on(site: Site, target: Path) -> None:
    site.files["/file"] = BODY
    target.parent.mkdir()
    _part(target).write_bytes(BODY[:5_000])
    site.status = 404
    with pytest.raises(DataError, match=r"file\.tgz could not be downloaded") as caught:
        fetch_file([f"{site.url}/file"], target, digest=DIGEST)
    assert "go on after the 5,000 bytes" in caught.value.hint


def test_a_folder_in_the_place_of_the_file_is_an_error_that_names_it(
    site: Site, target: Path
) -> None:
    site.files["/file"] = BODY
    target.mkdir(parents=True)
    with pytest.raises(DataError, match="could not be written") as caught:
        fetch_file([f"{site.url}/file"], target, digest=DIGEST)
    assert str(target) in caught.value.message


def test_a_folder_that_cannot_be_made_is_an_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="could not be written"):
        fetch_file([f"{site.url}/file"], tmp_path / "cache" / "file", digest=DIGEST)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_that_says_so(site: Site) -> None:
    site.files["/file"] = BODY
    with pytest.raises(DataError, match="No space left"):
        download(f"{site.url}/file", Path("/dev/full"))


def test_reachable_keeps_the_order_and_drops_the_silent(site: Site) -> None:
    site.files |= {"/a": b"1", "/b": b"2"}
    urls = [f"{site.url}/b", NOBODY, f"{site.url}/gone", f"{site.url}/a"]
    assert reachable(urls, within_s=60.0) == [urls[0], urls[3]]


def test_a_host_that_says_nothing_costs_no_more_than_the_given_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def wait(url: str, answers: dict[str, bool], timeout_s: float) -> None:
        answers[url] = over.wait(200)

    monkeypatch.setattr(fetch, "_ask", wait)
    assert reachable(["http://a/", "http://b/"], within_s=0.1) == []
    over.set()  # had it waited for an answer, it would have come too late


def test_two_processes_may_fetch_at_once(site: Site, target: Path) -> None:
    site.files["/file"] = BODY
    code = (
        "import sys, pathlib\n"
        "from dlcli.data.fetch import fetch_file\n"
        f"fetch_file([{site.url + '/file'!r}], pathlib.Path({str(target)!r}), digest={DIGEST!r})"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ)) for _ in range(3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert target.read_bytes() == BODY
    assert len([asked for asked in site.asked if asked[0] == "GET"]) == 1
