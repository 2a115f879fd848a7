"""Fetching data sets by name, from their sources into the cache."""

from __future__ import annotations

from dlcli.data.catalogue import MNIST, DataSet
from dlcli.data.checks import find
from dlcli.data.fetch import Notice, Progress
from dlcli.data.mnist import fetch_mnist
from dlcli.data.places import VARIABLE, Place, cache, data_dir
from dlcli.errors import DataError, UsageFault

# Data set → how it is brought into a data folder.
_FETCHERS = {MNIST.name: fetch_mnist}


def fetch(
    data_set: DataSet,
    *,
    offline: bool = False,
    notice: Notice = print,
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
    found = find(data_set, replaceable=True)
    if found is not None:
        return found
    if offline:
        raise not_here(data_set, why="and --offline forbids fetching it")
    place = cache()
    _FETCHERS[data_set.name](place.folder, notice=notice, progress=progress)
    return place


def not_here(data_set: DataSet, *, why: str) -> DataError:
    """Build the error for a data set that is not on this machine, with the ways to get it."""
    looked = f"${VARIABLE} or in {cache().folder}" if data_dir() is not None else cache().folder
    files = data_set.files[0].name.rpartition("/")[0]
    return DataError(
        f"'{data_set.name}' is not in {looked}, {why}.",
        hint=(
            f"Run `dl data fetch {data_set.name}` with a network, set {VARIABLE} to a folder that "
            f"has {files}/, or use an embedded set such as --data glyphs."
        ),
    )
