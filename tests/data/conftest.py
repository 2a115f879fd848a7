"""Data sources that are not the network: a web server on this machine, a fake npm, a tiny MNIST."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import io
import os
import stat
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dlcli.data import catalogue, mnist
from dlcli.data.catalogue import DataSet, FileCheck


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no proxy between the tests and this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "xdg/dl"))
    return tmp_path / "xdg" / "dl" / "data"


class Site:
    """A web server's files and its faults.

    Attributes:
        files: path → content.
        ranges: whether it honours Range.
        cut_after: bytes of a body after which the next answers are cut, one entry an answer.
        status: answer everything with this status, if set.
        asked: (method, path, Range header or "") of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.cut_after: list[int] = []
        self.status = 0
        self.asked: list[tuple[str, str, str]] = []
        self.url = ""


def _handler(site: Site) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            wanted = self.headers.get("Range", "")
            site.asked.append((self.command, self.path, wanted))
            content = site.files.get(self.path)
            status = site.status or (200 if content is not None else 404)
            if status != 200 or content is None:
                self._head(status, 0)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
            if start and start >= len(content):
                self._head(416, 0)
                return
            total, content = len(content), content[start:]
            extra = {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if start else {}
            self._head(206 if start else 200, len(content), extra)
            if body:
                cut = site.cut_after.pop(0) if site.cut_after else len(content)
                with contextlib.suppress(OSError):  # the client may have hung up
                    self.wfile.write(content[:cut])
                self.close_connection = self.close_connection or cut < len(content)

        def _head(self, status: int, length: int, extra: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            for name, value in (extra or {}).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients here hang up on purpose."""


@pytest.fixture
def site() -> Iterator[Site]:
    """A running web server; `site.url` ends without a slash."""
    found = Site()
    server = _Server(("127.0.0.1", 0), _handler(found))
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def idx_bytes(values: torch.Tensor) -> bytes:
    """Write a uint8 tensor in MNIST's IDX form."""
    head = struct.pack(">HBB", 0, 8, values.dim()) + struct.pack(f">{values.dim()}I", *values.shape)
    return head + values.to(torch.uint8).numpy().tobytes()


@pytest.fixture
def tiny_files() -> dict[str, bytes]:
    """MNIST's four files in small: 5 training and 3 test digits."""
    pixels = torch.Generator().manual_seed(0)
    files = {}
    for half, count in (("train", 5), ("t10k", 3)):
        images = torch.randint(256, (count, 28, 28), generator=pixels)
        files[f"{half}-images-idx3-ubyte"] = idx_bytes(images)
        files[f"{half}-labels-idx1-ubyte"] = idx_bytes(torch.arange(count))
    return files


@pytest.fixture
def tiny_mnist(tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """A catalogue whose `mnist` is the tiny one, and torchvision's class told so too."""
    checks = tuple(
        FileCheck(
            name=f"MNIST/raw/{name}",
            size=len(data),
            digest="md5:" + hashlib.md5(data, usedforsecurity=False).hexdigest(),
        )
        for name, data in tiny_files.items()
    )
    tiny = dataclasses.replace(catalogue.MNIST, files=checks, download_bytes=4_000)
    monkeypatch.setattr(catalogue, "DATA_SETS", (tiny, catalogue.GLYPHS))
    known = mnist._torchvision_class()
    resources = [
        (f"{name}.gz", hashlib.md5(packed(data), usedforsecurity=False).hexdigest())
        for name, data in tiny_files.items()
    ]
    monkeypatch.setattr(known, "resources", resources)
    monkeypatch.setattr(known, "mirrors", ["http://127.0.0.1:9/"])  # nobody listens there
    monkeypatch.setenv("PATH", "")  # and there is no npm
    return tiny


def packed(data: bytes) -> bytes:
    """Compress as the mirrors do, with the same bytes each time."""
    return gzip.compress(data, mtime=0)


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Lay the four files out under a data folder."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, data in files.items():
        (raw / name).write_bytes(data)


FakeNpm = Callable[..., Path]


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNpm:
    """A program `npm` on the PATH whose `pack` leaves an archive of the given members."""

    def install(members: dict[str, bytes], *, fails_at: str = "", says: str = "") -> Path:
        programs = tmp_path / "programs"
        programs.mkdir()
        archive = programs / "archive"
        with tarfile.open(archive, "w:gz") as tar:
            for name, data in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        script = programs / "npm"
        script.write_text(
            "#!/bin/sh\n"
            f'echo "$@" >> "{programs}/calls"\n'
            f'if [ "$1" = "{fails_at}" ]; then echo "{says}" >&2; exit 1; fi\n'
            f'if [ "$1" = pack ]; then /bin/cp "{archive}" package-1.0.0.tgz; fi\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ.get('PATH', '')}")
        return programs / "calls"

    return install
