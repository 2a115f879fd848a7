"""Files that are either whole or not there: temporary file, flush to disk, rename.

And streams that take every character.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from pathlib import Path

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
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
