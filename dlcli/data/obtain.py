"""Data sets by name: fetched from their sources into the cache, found and verified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dlcli.data import catalogue
from dlcli.data.catalogue import DataSet, FileCheck, named
from dlcli.data.fetch import Progress, fetch_file, following, reachable
from dlcli.data.storage import (
    VARIABLE,
    FileState,
    Notice,
    Place,
    cache,
    check_file,
    check_set,
    data_dir,
    find,
    places,
    size_of,
    tell,
)
from dlcli.errors import DataError, UsageFault

# -- Fetching data sets by name, from their sources into the cache

_ANSWERS_S = 5.0


def fetch(
    data_set: DataSet,
    *,
    offline: bool = False,
    notice: Notice = tell,
    progress: Progress | None = None,
) -> Place:
    """Bring a data set here unless it is here, and say where that is.

    Wrong files in the cache are replaced; wrong files of the user's own are an error.

    Args:
        data_set: which; not an embedded one.
        offline: never ask the network.
        notice: called with one sentence where the user should know something.
        progress: called with the bytes done and, where known, in all.

    Raises:
        DataError: it cannot be had; the hint lists the ways out.
        UsageFault: the set is embedded, there is nothing to fetch.
    """
    if data_set.embedded:
        raise UsageFault(
            f"'{data_set.name}' is made by the package itself: there is nothing to fetch.",
            hint=f"Use it by name, or look at it with `dl data show {data_set.name}`.",
        )
    own = data_dir()
    if own is not None and not own.folder.is_dir():
        notice(f"{own.kind} names {own.folder}, which is not a folder.")
    found = find(data_set, replaceable=not offline)
    if found is not None:
        return found
    if offline:
        raise not_here(data_set, why="and --offline forbids fetching it")
    place = cache()
    _fetcher(data_set)(data_set, place.folder, notice=notice, progress=progress)
    return place


def _fetcher(data_set: DataSet) -> Callable[..., None]:
    """Return what brings a set into a data folder; imported late, for some of it needs torch."""
    if data_set.name == "mnist":
        from dlcli.data.mnist import fetch_mnist

        return fetch_mnist
    return _fetch_files


def _fetch_files(
    data_set: DataSet, folder: Path, *, notice: Notice, progress: Progress | None
) -> None:
    """Download the files of a set that have addresses, one after the other, as they are.

    A file that was cut goes on where it stopped; those that are right already stay.
    """
    lacking = [check for check in data_set.files if check_file(folder, check).state != "ok"]
    urls = [url for check in lacking for url in check.urls]
    if not all(check.urls for check in lacking):
        raise not_here(data_set, why="and it is not published")
    notice(f"Fetching {data_set.name} from {', '.join(data_set.sources)}.")
    if not reachable(urls[:1], within_s=_ANSWERS_S):
        raise not_here(data_set, why=f"and {urlsplit(urls[0]).hostname} does not answer")
    before = 0
    for check in lacking:
        target = folder / check.name
        fetch_file(
            check.urls,
            target,
            digest=check.fetched or check.digest,
            size=None if check.fetched else check.size or None,
            progress=following(before, progress, total=data_set.download_bytes),
            notice=notice,
        )
        before += target.stat().st_size


def not_here(data_set: DataSet, *, why: str) -> DataError:
    """Build the error for a data set that is not on this machine, with the ways to get it."""
    own = data_dir()
    looked = " or in ".join(str(place.folder) for place in places())
    files = data_set.files[0].name.rpartition("/")[0]
    embedded = "glyphs" if data_set.kind == "images" else "grammar"
    lacking = "" if own is None else _lacking(data_set, own)
    return DataError(
        f"'{data_set.name}' is not in {looked}{lacking}, {why}.",
        hint=(
            f"Run `dl data fetch {data_set.name}` with a network, set {VARIABLE} to a folder that "
            f"has {files}/, or use an embedded set such as --data {embedded}."
        ),
    )


def _lacking(data_set: DataSet, place: Place) -> str:
    """Name what a place lacks of a set that it holds in part."""
    missing = [check.name for check in data_set.files if not (place.folder / check.name).exists()]
    if len(missing) == len(data_set.files):
        return ""
    return f" (the first lacks {', '.join(missing)})"


# -- What is here, where, and is it what it should be? The answers behind `dl data`


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One row of `dl data list`.

    Attributes:
        data_set: the catalogue's entry.
        where: "embedded", "$DL_DATA_DIR", "cache", or "" where it is not on this machine.
        folder: the folder that holds its files, or None.
        size: bytes of its files; 0 for an embedded set.
    """

    data_set: DataSet
    where: str
    folder: Path | None
    size: int


@dataclass(frozen=True, kw_only=True)
class SetState:
    """The files of one data set in one place, each checked against its digest.

    Attributes:
        name: the data set.
        place: where it was looked for.
        files: one state a file, in the catalogue's order.
    """

    name: str
    place: Place
    files: tuple[FileState, ...]

    @property
    def state(self) -> Literal["ok", "missing", "wrong"]:
        """The worst state of any file."""
        states = {file.state for file in self.files}
        return "wrong" if "wrong" in states else "missing" if "missing" in states else "ok"


def listing() -> tuple[Listing, ...]:
    """List the catalogue and where each set is, by the names and sizes of files only."""
    rows = []
    for data_set in catalogue.DATA_SETS:
        place = next((place for place in places() if _seems_whole(data_set, place)), None)
        where = "embedded" if data_set.embedded else place.kind if place else ""
        folder = files_folder(data_set, place) if place else None
        rows.append(Listing(data_set=data_set, where=where, folder=folder, size=data_set.size))
    return tuple(rows)


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
                name=data_set.name,
                place=place,
                files=check_set(place.folder, data_set, again=True),
            )
            for place in places()
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
    place = find(data_set)
    if place is None:
        raise not_here(data_set, why="and `path` fetches nothing")
    return files_folder(data_set, place)


def files_folder(data_set: DataSet, place: Place) -> Path:
    """Return the folder inside a place in which a set's files lie."""
    return (place.folder / data_set.files[0].name).parent


def _with_files(name: str) -> DataSet:
    data_set = named(name)
    if data_set.embedded:
        raise UsageFault(
            f"'{data_set.name}' is made by the package itself and has no files.",
            hint=f"Look at it with `dl data show {data_set.name}`.",
        )
    return data_set


def _seems_whole(data_set: DataSet, place: Place) -> bool:
    return bool(data_set.files) and all(_seems_right(place, check) for check in data_set.files)


def _seems_right(place: Place, check: FileCheck) -> bool:
    try:
        length = size_of(place.folder, check)
    except OSError:
        return False
    return (place.folder / check.name).is_file() and length == (check.size or length)
