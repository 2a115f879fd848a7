"""Putting a finished file where it belongs: whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from dlcli.engine.files import write_whole
from dlcli.errors import RunFailed


def write_file(path: Path, data: bytes) -> Path:
    """Write `data` to `path`, making its folder, and return the absolute path.

    Raises:
        RunFailed: the file or its folder cannot be written; what was there before is untouched.
    """
    whole = path.absolute()
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFailed(
            f"The folder {whole.parent} could not be made: {error.strerror or error}.",
            hint="Choose a path in a folder you may write to.",
        ) from None
    if whole.is_dir():
        raise RunFailed(f"{whole} is a folder.", hint="Name a file in it, such as figure.png.")
    write_whole(whole, data)
    return whole
