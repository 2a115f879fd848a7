"""Fetching data sets by name, from their sources into the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from dlcli.data.catalogue import DataSet
from dlcli.data.checks import check_file, find
from dlcli.data.fetch import Progress, fetch_file, following, reachable
from dlcli.data.places import VARIABLE, Place, cache, data_dir, places
from dlcli.data.storage import Notice, tell
from dlcli.errors import DataError, UsageFault

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
