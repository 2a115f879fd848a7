"""Putting files into a data folder: one process at a time, and whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from dlcli.errors import DataError

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
