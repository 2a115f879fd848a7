"""The user's own corpora: a file of tab-separated pairs, or two files that go line by line.

Their names carry a digest (`/home/me/pairs.tsv#1f2e3d4c`), so that a figure's signature says what
it was measured on, and a file that has changed since is noticed when it is read by that name.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from dlcli.data.lines import Tally, columns, read_lines, refuse_if_many, side_by_side
from dlcli.data.pairs import Corpus
from dlcli.data.splitting import sentence_key, split_corpus
from dlcli.data.storage import Notice
from dlcli.errors import ConfigError, DataError

MOST_HELD_OUT = 2_000
HELD_OUT_SHARE = 10
"""One different source sentence in so many is held out for validation, and one for the test."""

_DIGEST = re.compile(r"#([0-9a-f]{8})$")
_SUFFIXES = {".tsv", ".txt", ".gz"}


def is_path(name: str) -> bool:
    """Tell a path, or two with a comma between, from the name of a data set."""
    plain = _DIGEST.sub("", name)
    return any(mark in plain for mark in ",/\\~") or Path(plain).suffix.lower() in _SUFFIXES


def read_text_files(name: str, *, notice: Notice) -> Corpus:
    """Read a user's corpus: "pairs.tsv", or "a.en,b.fr", each perhaps with ".gz" behind it.

    A TSV has the source of "en-fr" in its first column; what follows its second is not looked at.
    Of two files the English one is the first, whatever their order, where their suffixes say so.

    Args:
        name: the path or paths, perhaps with the digest of an earlier reading.
        notice: called with one sentence where lines are left out.

    Raises:
        ConfigError: more than two paths are named.
        DataError: a file cannot be read or has changed, too many lines are no pairs, or too few
            pairs are there to be split.
    """
    paths = _paths(_DIGEST.sub("", name))
    digest = _digest(paths)
    asked = _DIGEST.search(name)
    shown = ",".join(map(str, paths))
    if asked and asked[1] != digest:
        raise DataError(
            f"{shown} has changed: its digest was {asked[1]} and is {digest}.",
            hint="Put the old file back, or name it without the digest.",
        )
    tally = Tally()
    pairs = _read(paths, tally=tally, shown=shown)
    refuse_if_many(tally, name=shown)
    if tally.dropped:
        examples = "; ".join(map(str, tally.examples))
        notice(f"{shown}: {tally.dropped.total():,} of {tally.read:,} lines left out: {examples}.")
    different = len({sentence_key(source) for source, _ in pairs})
    held_out = min(MOST_HELD_OUT, max(1, different // HELD_OUT_SHARE))
    return split_corpus(
        pairs,
        name=f"{shown}#{digest}",
        held_out=held_out,
        tally=tally,
        languages=_languages(paths),
    )


def _paths(name: str) -> list[Path]:
    """Return the one or two files that a name stands for, absolute, the English one first."""
    words = [name] if Path(name).is_file() else name.split(",")
    if len(words) > 2 or not all(words):
        raise ConfigError(
            f"'{name}' names {len(words)} files.",
            hint="Name one file of tab-separated pairs, or two files: --data a.en,b.fr.",
        )
    paths = [Path(word).expanduser().absolute() for word in words]
    for path in paths:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "does not exist"
            raise DataError(
                f"{path} {what}.",
                hint="Name a file of tab-separated pairs, two files (a.en,b.fr) or a data set.",
            )
    if [_language(path) for path in paths] == ["fr", "en"]:
        paths.reverse()
    return paths


def _language(path: Path) -> str:
    """Return the language that a file's suffix names: "fr" for `train.fr.gz`, else nothing."""
    suffix = Path(path.name.removesuffix(".gz")).suffix[1:]
    return suffix if re.fullmatch("[a-z]{2}", suffix) else ""


def _languages(paths: list[Path]) -> tuple[str, str]:
    named = [_language(path) for path in paths]
    return (named[0], named[1]) if len(named) == 2 and all(named) else ("en", "fr")


def _digest(paths: list[Path]) -> str:
    hashed = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                hashed.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise _unreadable(path, error) from None
    return hashed.hexdigest()[:8]


def _read(paths: list[Path], *, tally: Tally, shown: str) -> list[tuple[str, str]]:
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(path)) for path in paths]
        lines = [read_lines(file, name=str(p)) for file, p in zip(files, paths, strict=True)]
        if len(lines) == 1:
            return list(columns(lines[0], tally=tally))
        return list(side_by_side(lines[0], lines[1], tally=tally, names=shown))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked where its name ends in `.gz`."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"{path} cannot be read: {reason}.", hint="Check the file and its rights.")
