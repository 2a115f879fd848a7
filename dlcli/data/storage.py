"""Where data sets are kept on this machine, what is there, and whether it is what it should be.

Sets are looked for in `$DL_DATA_DIR`, then in the user's cache; both have the same layout.
`$DL_DATA_DIR` belongs to the user and is only read; what is fetched goes into the cache. No file of
a set is read before its size and digest were compared with the catalogue's.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from dlcli.data import catalogue
from dlcli.data.catalogue import DataSet, FileCheck, named
from dlcli.engine.files import cache_folder
from dlcli.errors import DataError, UsageFault

VARIABLE = "DL_DATA_DIR"


def to_stderr(sentence: str) -> None:
    """Print a notice: what library users get who pass no `notice` of their own."""
    print(sentence, file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class DataFolder:
    """A folder that may hold data sets.

    Attributes:
        kind: "$DL_DATA_DIR" or "cache", as shown to the user.
        path: absolute; it need not exist.
    """

    kind: str
    path: Path

    @property
    def ours(self) -> bool:
        """Whether the tool fetched what is there, and may therefore replace it."""
        return self.kind == "cache"

    def files_of(self, data_set: DataSet) -> Path:
        """Return the folder inside this one in which a set's files lie."""
        return (self.path / data_set.files[0].name).parent


def user_folder() -> DataFolder | None:
    """Return the user's own data folder, or None where `$DL_DATA_DIR` is unset or empty."""
    value = os.environ.get(VARIABLE, "")
    if not value:
        return None
    return DataFolder(kind=f"${VARIABLE}", path=Path(value).expanduser().absolute())


def cache() -> DataFolder:
    """Return the folder for what is fetched; the system's variables move it (XDG_CACHE_HOME)."""
    return DataFolder(kind="cache", path=cache_folder() / "data")


def data_folders() -> tuple[DataFolder, ...]:
    """Return the folders to look in, first to last."""
    own = user_folder()
    return (cache(),) if own is None else (own, cache())


def find(data_set: DataSet, *, replaceable: bool = False) -> DataFolder | None:
    """Return the first folder that holds the whole set, every file checked, or None.

    A folder that lacks a file is passed over; one that holds a wrong file is an error, for using
    the next one in silence would hide the damage.

    Args:
        data_set: what to look for; not an embedded one.
        replaceable: pass over wrong files in our own cache, because they are about to be replaced.

    Raises:
        DataError: a file is not what it must be; the message names it.
    """
    for folder in data_folders():
        states = check_set(folder, data_set)
        for state in states:
            if state.state == "wrong" and not (folder.ours and replaceable):
                way_out = f"Delete it or put the right file there, or unset {folder.kind}."
                if folder.ours:
                    way_out = f"Run `dl data fetch {data_set.name}` to fetch it again."
                raise DataError(
                    f"{state.path} is not the file of '{data_set.name}' that it should be: "
                    f"expected {state.expected}; found {state.found}.",
                    hint=way_out,
                )
        if all(state.state == "ok" for state in states):
            return folder
    return None


def not_here(data_set: DataSet, *, why: str) -> DataError:
    """Build the error for a data set that is not on this machine, with the ways to get it."""
    looked = " or in ".join(str(folder.path) for folder in data_folders())
    own = user_folder()
    if own is not None:
        missing = [
            file.name for file in data_set.files if not place_of(own.path, file.name).exists()
        ]
        if len(missing) < len(data_set.files):
            looked += f" (the first lacks {', '.join(missing)})"
    files = data_set.files[0].name.rpartition("/")[0]
    embedded = "glyphs" if data_set.kind == "images" else "grammar"
    return DataError(
        f"'{data_set.name}' is not in {looked}, {why}.",
        hint=(
            f"Run `dl data fetch {data_set.name}` with a network, or set {VARIABLE} to a folder "
            f"that has {files}/. The embedded set {embedded} needs neither."
        ),
    )


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


def check_set(
    folder: DataFolder, data_set: DataSet, *, read: Literal["never", "once", "again"] = "once"
) -> tuple[FileState, ...]:
    """Check every file of a data set in one data folder."""
    return tuple(check_file(folder.path, check, read=read) for check in data_set.files)


def place_of(folder: Path, name: str) -> Path:
    """Return where a file of a data set lies in a data folder.

    That is under the catalogue's name, or under one that other programs give it: with a dot
    (`train-images.idx3-ubyte`), or packed (`.gz`).

    Args:
        folder: the data folder.
        name: the catalogue's.
    """
    names = dict.fromkeys((name, name.replace("-idx", ".idx")))
    if not name.endswith(PACKED):
        names |= dict.fromkeys(f"{name}.gz" for name in names)
    places = [folder / name for name in names]
    return next((place for place in places if place.exists()), places[0])


PACKED = (".gz", ".tgz", ".zip")


def check_file(
    folder: Path, check: FileCheck, *, read: Literal["never", "once", "again"] = "once"
) -> FileState:
    """Check one file of a data set in a data folder: kind, size, then digest.

    Args:
        folder: the data folder (what `$DL_DATA_DIR` names).
        check: what the file must be.
        read: whether to compute the digest: never, unless this process has found the file right
            before, or in any case.
    """
    path = place_of(folder, check.name)
    algorithm, _, digest = check.digest.partition(":")
    expected = f"{check.size:,} bytes, {algorithm} {digest}" if check.size else check.digest
    if check.member:
        expected = f"an archive with {check.member}{' of ' if expected else ''}{expected}"

    def wrong(found: str) -> FileState:
        return FileState(path=path, state="wrong", expected=expected, found=found)

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return wrong("a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        with open_file(path, check) as (file, size):
            if check.size and size != check.size:
                return wrong(f"{size:,} bytes")
            key = (str(path), status.st_size, status.st_mtime_ns, check.digest)
            if digest and (read == "again" or (read == "once" and key not in _verified)):
                actual = file_digest(file, algorithm)
                if actual != digest:
                    return wrong(f"{algorithm} {actual}")
                _verified.add(key)
    except (FileNotFoundError, NotADirectoryError):
        return FileState(path=path, state="missing", expected=expected)
    except OSError as error:
        return wrong(f"it cannot be read ({error.strerror or error})")
    return FileState(path=path, state="ok", expected=expected)


def file_digest(file: BinaryIO, algorithm: str) -> str:
    """Return the hex digest of an open file."""
    hashed = hashlib.new(algorithm, usedforsecurity=False)
    return hashlib.file_digest(cast(Any, file), lambda: hashed).hexdigest()


@contextmanager
def open_file(path: Path, check: FileCheck) -> Iterator[tuple[BinaryIO, int]]:
    """Open what is checked of a file, and say how long it is.

    That is the file itself, what is packed in it where the catalogue's file is not packed, or a
    member of a zip archive.

    Raises:
        OSError: it is not there or cannot be read; a damaged archive included.
    """
    try:
        if check.member:
            with zipfile.ZipFile(path) as archive:
                if check.member not in archive.namelist():
                    raise OSError(f"it is no zip archive with {check.member}")
                with archive.open(check.member) as unpacked:
                    yield cast(BinaryIO, unpacked), archive.getinfo(check.member).file_size
        elif path.suffix == ".gz" and not check.name.endswith(PACKED):
            content = gzip.decompress(path.read_bytes())
            yield io.BytesIO(content), len(content)
        else:
            with path.open("rb") as file:
                yield file, path.stat().st_size
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError) as error:
        raise OSError(f"a damaged archive: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One row of `dl data list`.

    Attributes:
        data_set: the catalogue's entry.
        where: "embedded", "$DL_DATA_DIR", "cache", or "" where it is not on this machine.
        folder: the folder that holds its files, or None.
    """

    data_set: DataSet
    where: str
    folder: Path | None


def listing() -> tuple[Listing, ...]:
    """List the catalogue and where each set is, by the names and sizes of files only."""
    rows = []
    for data_set in catalogue.DATA_SETS:
        whole = (
            folder
            for folder in data_folders()
            if all(state.state == "ok" for state in check_set(folder, data_set, read="never"))
        )
        found = None if data_set.embedded else next(whole, None)
        where = "embedded" if data_set.embedded else found.kind if found else ""
        inside = found.files_of(data_set) if found else None
        rows.append(Listing(data_set=data_set, where=where, folder=inside))
    return tuple(rows)


@dataclass(frozen=True, kw_only=True)
class SetState:
    """The files of one data set in one data folder, each checked against its digest.

    Attributes:
        name: the data set.
        folder: where it was looked for.
        files: one state a file, in the catalogue's order.
    """

    name: str
    folder: DataFolder
    files: tuple[FileState, ...]

    @property
    def state(self) -> Literal["ok", "missing", "wrong"]:
        """The worst state of any file."""
        states = {file.state for file in self.files}
        return "wrong" if "wrong" in states else "missing" if "missing" in states else "ok"


def verify(names: Sequence[str] = ()) -> tuple[SetState, ...]:
    """Read every file of the data sets that are on this machine and check it.

    Args:
        names: which sets; empty for all. A named set that is nowhere is reported as missing.

    Raises:
        ConfigError: there is no data set of that name.
        UsageFault: a named set is embedded and has no files.
    """
    reports = []
    for data_set in [_with_files(name) for name in names] or catalogue.DATA_SETS:
        found = [
            SetState(
                name=data_set.name, folder=folder, files=check_set(folder, data_set, read="again")
            )
            for folder in data_folders()
            if not data_set.embedded
        ]
        here = [report for report in found if any(f.state != "missing" for f in report.files)]
        reports += here or (found[-1:] if names else [])
    return tuple(reports)


def path(name: str) -> Path:
    """Return the folder that holds a data set's files.

    Raises:
        ConfigError: there is no data set of that name.
        UsageFault: it is embedded and has no files.
        DataError: it is not on this machine, or a file of it is wrong.
    """
    data_set = _with_files(name)
    folder = find(data_set)
    if folder is None:
        raise not_here(data_set, why="and `path` fetches nothing")
    return folder.files_of(data_set)


def _with_files(name: str) -> DataSet:
    data_set = named(name)
    if data_set.embedded:
        raise UsageFault(
            f"'{data_set.name}' is made by the package itself and has no files.",
            hint=f"Look at it with `dl data show {data_set.name}`.",
        )
    return data_set
