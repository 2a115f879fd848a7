"""What is here, where, and is it what it should be? The answers behind `dl data`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dlcli.data import catalogue
from dlcli.data.catalogue import DataSet, FileCheck, named
from dlcli.data.checks import FileState, check_set, find, size_of
from dlcli.data.obtain import not_here
from dlcli.data.places import Place, places
from dlcli.errors import UsageFault


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
