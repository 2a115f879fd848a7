"""Answers that are kept, so that a second report only redoes what changed.

An answer is filed under a digest of all that it was made from. Answers and small trainings of
another version of the package are swept away when a report begins.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import dlcli
from dlcli.engine.files import write_whole
from dlcli.errors import DlError
from dlcli.report.strict_json import to_json
from dlcli.study.questions.answer import Answer, read_answer

FORMAT = "2"
CODE = ("*.py", "*.cpp", "*.h")
UNUSED_S = 7 * 24 * 3600
"""What another version has not touched for so long may go."""


def report_folder() -> Path:
    """Return where reports keep what they made, in the user's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("dl", appauthor=False)).absolute() / "report"


def digest(value: object) -> str:
    """Return 16 hexadecimal digits that differ wherever two values differ."""
    return hashlib.sha256(to_json(value).encode()).hexdigest()[:16]


def digest_of_files(folder: Path, *, pattern: str) -> str:
    """Return a digest of names and contents of the files in a folder and below it."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return found.hexdigest()[:16]


@functools.cache
def package_stamp() -> str:
    """Return the version of the package with a digest of its code: what decides all numbers."""
    package = Path(dlcli.__file__).parent
    code = digest([digest_of_files(package, pattern=pattern) for pattern in CODE])
    return f"{dlcli.__version__}-{FORMAT}-{code}"


def settled(answer: Answer) -> Answer:
    """Return an answer as it will come back from the cache, where infinities are None."""
    return read_answer(json.loads(to_json(answer)))


@dataclass(frozen=True)
class Cache:
    """The answers under one folder, of this version of the package."""

    root: Path
    fresh: bool = False
    """Whether to find nothing."""

    @property
    def folder(self) -> Path:
        """Where this version's answers and trainings are."""
        return self.root / package_stamp()

    def sweep(self) -> None:
        """Remove what other versions of the package left, if none of it is in use."""
        if self.root.is_dir():
            for left in self.root.iterdir():
                if left.is_dir() and left != self.folder and _age_s(left) > UNUSED_S:
                    shutil.rmtree(left, ignore_errors=True)

    def find(self, key: Mapping[str, object]) -> Answer | None:
        """Return the answer that was made from this, or None; a damaged one counts for nothing."""
        if self.fresh:
            return None
        try:
            kept = json.loads(self._file(key).read_text(encoding="utf-8"))
            if kept["digest"] != digest(kept["answer"]):
                return None
            return read_answer(cast(Mapping[str, object], kept["answer"]))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def keep(self, key: Mapping[str, object], answer: Answer) -> bool:
        """File an answer; return whether that could be done."""
        path = self._file(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fields = json.loads(to_json(answer))
            write_whole(path, to_json({"answer": fields, "digest": digest(fields)}).encode())
        except (OSError, DlError):
            return False
        return True

    def _file(self, key: Mapping[str, object]) -> Path:
        return self.folder / "answers" / f"{digest(key)}.json"


def _age_s(folder: Path) -> float:
    """Return the seconds since something was last put into a folder or the folders in it."""
    times = [time.time()]
    with contextlib.suppress(OSError):
        times = [path.stat().st_mtime for path in (folder, *folder.glob("*/"), *folder.glob("*/*"))]
    return time.time() - max(times)
