"""Files that are either whole or not there: temporary file, flush to disk, rename.

And streams that take every character, lock files, and the cache folder.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dlcli.engine.events import NoticeCallback
from dlcli.errors import RunFailed


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` so that a reader, or a power cut, never sees half of it.

    Raises:
        RunFailed: the disk is full or the folder cannot be written; `path` keeps what it had.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise RunFailed(
            f"{path} could not be written: {error.strerror or error}.",
            hint=f"{_way_out(error)}; what was there before is untouched.",
        ) from None
    finally:
        with contextlib.suppress(OSError):  # it has its name by now, or its folder is none
            temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the renaming last through a power cut, on file systems that can sync a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _way_out(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return "Free some space or choose another folder" if full else "Choose another folder"


def replace_unencodable(stream: object) -> None:
    """Let a text stream write `?` for a character that its encoding lacks, and not fail."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors != "replace":  # it flushes, too
        stream.reconfigure(errors="replace")


NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""How file systems without locks, such as some network disks, answer."""


@contextlib.contextmanager
def locked(path: Path, *, wait_s: float) -> Iterator[bool]:
    """Hold a lock file, or go on without it where the file system has no locks.

    Args:
        path: the file; it is made.
        wait_s: how long to wait for another process; −1 is for ever.

    Yields:
        whether it is held.

    Raises:
        filelock.Timeout: another process holds it.
        OSError: it cannot be made.
    """
    from filelock import FileLock

    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait_s, poll_interval=0.02)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield lock.is_locked
    finally:
        lock.release()


@contextlib.contextmanager
def locked_in_turn(path: Path, *, work: str, notice: NoticeCallback) -> Iterator[bool]:
    """Hold a lock file as in `locked`, and say so where it is another process's turn first.

    Args:
        path: the file.
        work: what the other process does, such as "fetching mnist".
        notice: called with one sentence before the wait.
    """
    from filelock import Timeout

    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(locked(path, wait_s=0))
        except Timeout:
            notice(f"Waiting for another process that is {work}.")
            held = stack.enter_context(locked(path, wait_s=-1))
        yield held


def cache_folder() -> Path:
    """Return the folder for what can be fetched or made again; XDG_CACHE_HOME moves it."""
    import platformdirs

    path = platformdirs.user_cache_dir("dl", appauthor=False)
    return _folder_of_this_process() if path.startswith("~") else Path(path).absolute()


@functools.cache
def _folder_of_this_process() -> Path:
    """Make a folder that goes when the program ends, for users without a home."""
    path = tempfile.mkdtemp(prefix="dl-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)
