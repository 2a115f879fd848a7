"""Is a file what the catalogue says it is? Nothing is read before it was asked."""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from dlcli.data.catalogue import DataSet, FileCheck
from dlcli.data.places import Place, places
from dlcli.errors import DataError

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
