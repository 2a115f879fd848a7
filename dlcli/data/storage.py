"""Putting files into a data folder: one process at a time, and whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from dlcli.data.catalogue import DataSet, FileCheck
from dlcli.errors import DataError

# -- Where data sets are looked for: `$DL_DATA_DIR`, then the user's cache folder
# `$DL_DATA_DIR` belongs to the user and is only read; what is fetched goes into the cache, which
# the system's own variables move (`XDG_CACHE_HOME` on Linux). Both have the same layout.

VARIABLE = "DL_DATA_DIR"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder that may hold data sets.

    Attributes:
        kind: "$DL_DATA_DIR" or "cache", as shown to the user.
        folder: absolute path; it need not exist.
    """

    kind: str
    folder: Path

    @property
    def ours(self) -> bool:
        """Whether the tool fetched what is there, and may therefore replace it."""
        return self.kind == "cache"


def data_dir() -> Place | None:
    """Return the user's own data folder, or None where `$DL_DATA_DIR` is unset or empty."""
    value = os.environ.get(VARIABLE, "")
    if not value:
        return None
    return Place(kind=f"${VARIABLE}", folder=Path(value).expanduser().absolute())


def cache() -> Place:
    """Return the folder that fetched data sets are kept in."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("dl", appauthor=False)) / "data"
    return Place(kind="cache", folder=folder.absolute())


def places() -> tuple[Place, ...]:
    """Return the places to look in, first to last."""
    own = data_dir()
    return (cache(),) if own is None else (own, cache())


Notice = Callable[[str], object]


def tell(sentence: str) -> None:
    """Say a notice on stderr: what library users get who pass no `notice` of their own."""
    print(sentence, file=sys.stderr)


@contextlib.contextmanager
def locked(target: Path, *, notice: Notice) -> Iterator[None]:
    """Hold the lock of a target, so that of two processes that fetch it one waits for the other.

    Raises:
        DataError: the target's folder cannot be written.
    """
    import filelock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            notice(f"Waiting for another process that is fetching {target.name}.")
            lock.acquire()
    except OSError as error:
        raise unwritable(target, error) from None
    try:
        yield
    finally:
        lock.release()


def move_into_place(source: Path, target: Path) -> None:
    """Rename a finished file to its place, so that nobody ever sees half of it.

    Raises:
        DataError: something that is not a file is in its place, or the folder cannot be written.
    """
    try:
        with source.open("rb") as file:
            os.fsync(file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    except OSError as error:
        raise unwritable(target, error) from None


def unwritable(path: Path, error: OSError) -> DataError:
    """Build the error for a data folder that cannot take a file."""
    return DataError(
        f"{path} could not be written: {error.strerror or error}.",
        hint="Free some space or remove what is in its place; XDG_CACHE_HOME moves the cache.",
    )


# -- Is a file what the catalogue says it is? Nothing is read before it was asked

# Files found right by this process: (path, size, mtime in ns, digest). Reading 55 MB of MNIST to
# check them takes 0.1 s, which a process that loads the set twice need not pay twice.
_verified: set[tuple[str, int, int, str]] = set()


@dataclass(frozen=True, kw_only=True)
class FileState:
    """The outcome of checking one file.

    Attributes:
        path: the file that was looked at.
        state: "ok", "missing" or "wrong".
        expected: what it had to be, in words.
        found: what is there, in words; empty where it is ok or missing.
    """

    path: Path
    state: Literal["ok", "missing", "wrong"]
    expected: str
    found: str = ""


def file_digest(path: Path, algorithm: str) -> str:
    """Return the hex digest of a file, read in chunks."""
    with path.open("rb") as file:
        return _digest(file, algorithm)


def _digest(file: BinaryIO, algorithm: str) -> str:
    hashed = hashlib.new(algorithm, usedforsecurity=False)
    while block := file.read(1 << 20):
        hashed.update(block)
    return hashed.hexdigest()


@contextmanager
def open_checked(folder: Path, check: FileCheck) -> Iterator[BinaryIO]:
    """Open what a check is of: a file, or the member of a zip archive.

    Raises:
        OSError: it is not there or cannot be read; a damaged archive included.
    """
    path = folder / check.name
    if not check.member:
        with path.open("rb") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(path) as archive, archive.open(check.member) as member:
            yield cast(BinaryIO, member)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise OSError(f"a damaged zip archive: {error}") from None
    except KeyError:
        raise OSError(f"an archive without {check.member}") from None


def size_of(folder: Path, check: FileCheck) -> int:
    """Return the length of what a check is of, without reading it.

    Raises:
        OSError: it is not there, or is no such archive.
    """
    path = folder / check.name
    if not check.member:
        return path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.getinfo(check.member).file_size
    except (zipfile.BadZipFile, KeyError):
        raise OSError(f"it is no zip archive with {check.member}") from None


def check_file(folder: Path, check: FileCheck, *, again: bool = False) -> FileState:
    """Check one file of a data set under a data folder: kind, size, then digest.

    Args:
        folder: the data folder (what `$DL_DATA_DIR` names).
        check: what the file must be.
        again: read the file even if this process has found it right before.
    """
    path = folder / check.name
    algorithm, _, digest = check.digest.partition(":")
    expected = f"{check.size:,} bytes, {algorithm} {digest}" if check.size else check.digest
    if check.member:
        expected = f"an archive with {check.member} of {expected}"
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            return FileState(path=path, state="wrong", expected=expected, found=what)
        length = size_of(folder, check)
        if check.size and length != check.size:
            size = f"{length:,} bytes"
            return FileState(path=path, state="wrong", expected=expected, found=size)
        key = (str(path), found.st_size, found.st_mtime_ns, check.digest)
        if again or key not in _verified:
            with open_checked(folder, check) as content:
                actual = _digest(content, algorithm)
            if actual != digest:
                return FileState(
                    path=path, state="wrong", expected=expected, found=f"{algorithm} {actual}"
                )
            _verified.add(key)
    except (FileNotFoundError, NotADirectoryError):
        return FileState(path=path, state="missing", expected=expected)
    except OSError as error:
        reason = f"it cannot be read ({error.strerror or error})"
        return FileState(path=path, state="wrong", expected=expected, found=reason)
    return FileState(path=path, state="ok", expected=expected)


def check_set(folder: Path, data_set: DataSet, *, again: bool = False) -> tuple[FileState, ...]:
    """Check every file of a data set under one data folder."""
    return tuple(check_file(folder, check, again=again) for check in data_set.files)


def find(data_set: DataSet, *, replaceable: bool = False) -> Place | None:
    """Return the first place that holds the whole set, every file checked, or None.

    A place that lacks a file is passed over; one that holds a wrong file is an error, for using
    the next place in silence would hide the damage.

    Args:
        data_set: what to look for; not an embedded one.
        replaceable: pass over wrong files in our own cache, because they are about to be replaced.

    Raises:
        DataError: a file is not what it must be; the message names it.
    """
    for place in places():
        states = check_set(place.folder, data_set)
        for state in states:
            if state.state == "wrong" and not (place.ours and replaceable):
                raise wrong_file(state, data_set=data_set, place=place)
        if all(state.state == "ok" for state in states):
            return place
    return None


def wrong_file(state: FileState, *, data_set: DataSet, place: Place) -> DataError:
    """Build the error for a file that is not what it must be."""
    if place.ours:
        way_out = f"Run `dl data fetch {data_set.name}` to fetch it again."
    else:
        way_out = f"Delete it or put the right file there, or unset {place.kind}."
    return DataError(
        f"{state.path} is not the file of '{data_set.name}' that it should be: "
        f"expected {state.expected}; found {state.found}.",
        hint=way_out,
    )
