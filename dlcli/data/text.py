"""Text files that anybody may have written: every file of sentences is read here.

A file may be plain, packed (gzip or zip, whatever its name) or standard input (`-`). Lines end at
"\n" or "\r\n" and nowhere else (`str.splitlines` would also cut at U+2028 and at control
characters, and so shift one side of a corpus against the other). What is no text in UTF-8 spoils
its own line only: pairs of sentences do without it and count it, files whose lines belong to other
lines are refused for it.
"""

from __future__ import annotations

import gzip
import re
import sys
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, cast

from dlcli.errors import DataError, plural

STDIN = Path("-")

LONGEST = 10_000
"""Characters that a side of a pair may have."""

INVALID, CONTROL, TOO_LONG = "invalid UTF-8", "control characters", "too long"
NO_TAB, EMPTY = "no tab", "empty side"

_BLOCK = 1 << 22  # bytes: large enough for speed, small beside a corpus
_SEPARATOR = re.compile(rb"\xe2\x80[\xa8\xa9]|\xc2\x85|[\x0b\x0c\x1c-\x1e]")
"""What other programs may take for the end of a line: U+2028, U+2029, U+0085 and controls."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that is no sentence.

    Attributes:
        reason: why, one of this module's names for it.
        excerpt: its beginning, with what cannot be shown escaped.
        number: its line number from 1, or 0 before lines are counted.
    """

    reason: str
    excerpt: str
    number: int = 0

    def __str__(self) -> str:
        return f"line {self.number:,} ({self.reason}): {self.excerpt}"


@dataclass(kw_only=True)
class Tally:
    """What was read and what was left out.

    Attributes:
        read: how many lines there were.
        dropped: reason → how many lines.
        examples: the first three lines left out.
    """

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: list[Fault] = field(default_factory=list)

    def leave_out(self, fault: Fault) -> None:
        """Count the line that was read last as left out."""
        self.dropped[fault.reason] += 1
        if len(self.examples) < 3:
            self.examples.append(Fault(fault.reason, fault.excerpt, self.read))

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.most_common())


def read_sentences(path: Path) -> list[str]:
    """Read every line of a file, in NFC; blank lines are kept.

    What other programs may take for the end of a line, such as U+2028, is a space here, as it is
    where lines are translated.

    Raises:
        DataError: the file cannot be read, or a line of it is no text.
    """
    lines = list(file_lines(path, separator=b" "))
    for number, line in enumerate(lines, start=1):
        if isinstance(line, Fault):
            raise DataError(
                f"Line {number:,} of {path} cannot be read: {line.reason} in {line.excerpt}.",
                hint="Mend the line: leaving it out would shift all that follow.",
            )
    return cast(list[str], lines)


def is_composed(path: Path) -> bool:
    """Say whether a file is in NFC as it stands; standard input, read once, is not looked at.

    Raises:
        DataError: it cannot be read.
    """
    if path == STDIN:
        return True
    with open_text(path) as file:
        return all(unicodedata.is_normalized("NFC", line.decode(errors="replace")) for line in file)


def read_pairs(
    paths: Sequence[Path], *, tally: Tally, member: str = "", separator: bytes | None = None
) -> list[tuple[str, str]]:
    """Read pairs of sentences: one file of tab-separated lines, or two files line by line.

    Args:
        paths: one or two.
        tally: counts what is read and what is left out.
        member: what to read of a zip archive that holds several files.
        separator: see `read_lines`.

    Raises:
        DataError: a file cannot be read, or one of two has more lines than the other.
    """
    sides = [file_lines(path, member=member, separator=separator) for path in paths]
    if len(sides) == 1:
        return list(columns(sides[0], tally=tally))
    return list(side_by_side(*sides, tally=tally, names=" and ".join(map(str, paths))))


def file_lines(
    path: Path, *, member: str = "", separator: bytes | None = None
) -> Iterator[str | Fault]:
    """Yield the lines of a file, see `open_text` and `read_lines`.

    Raises:
        DataError: the file cannot be read.
    """
    with open_text(path, member=member) as file:
        yield from read_lines(file, name=str(path), separator=separator)


@contextmanager
def open_text(path: Path, *, member: str = "") -> Iterator[BinaryIO]:
    """Open a file of text, unpacked if its first bytes or its name say that it is packed.

    Args:
        path: the file, or `-` for standard input.
        member: what to read of a zip archive that holds several files.

    Raises:
        DataError: the file cannot be read, in the block too.
    """
    try:
        with _opened(path, member=member) as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is damaged: {error}.",
            hint="Fetch or copy it again; of a named data set `dl data verify` checks every file.",
        ) from None
    except (OSError, RuntimeError) as error:
        several = "; two files have a flag each" if "," in path.name else ""
        raise DataError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.",
            hint=f"Check the path and its permissions{several}.",
        ) from None


@contextmanager
def _opened(path: Path, *, member: str) -> Iterator[BinaryIO]:
    if path == STDIN:
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        head = file.peek(4)
        if path.suffix == ".zip" or head.startswith(_ZIP):
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/")]
                if not member and len(names) != 1:
                    raise OSError(f"it holds {len(names)} files, not one")
                with archive.open(member or names[0]) as unpacked:
                    yield cast(BinaryIO, unpacked)
        elif path.suffix == ".gz" or head.startswith(_GZIP):
            with gzip.open(file) as inflated:
                yield cast(BinaryIO, inflated)
        else:
            yield file


_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"


def without_mark(beginning: bytes, *, name: str) -> bytes:
    """Return the beginning of a file without the mark of byte order that it may have.

    Raises:
        DataError: the file is UTF-16 or packed, which no line of it would survive.
    """
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            f"{name} is UTF-16, not UTF-8.",
            hint="Convert it first: `iconv -f UTF-16 -t UTF-8 FILE > NEW`.",
        )
    if beginning.startswith((_GZIP, _ZIP)):
        raise DataError(
            f"{name} is packed.",
            hint="Name the file itself, or unpack it first: `gunzip -c FILE | dl …`.",
        )
    return beginning.removeprefix(b"\xef\xbb\xbf")


def read_lines(
    stream: BinaryIO, *, name: str, separator: bytes | None = None
) -> Iterator[str | Fault]:
    """Yield a file's lines, in NFC and without their ends; a mark of byte order is skipped.

    Args:
        stream: the file, opened in binary.
        name: what errors call it.
        separator: what stands for a character that other programs may take for the end of a line;
            by default it is a fault as other control characters are.

    Raises:
        DataError: the file is UTF-16 or packed.
    """
    rest = without_mark(stream.read(_BLOCK), name=name)
    while block := stream.read(_BLOCK):
        head, found, tail = block.rpartition(b"\n")
        if not found:
            rest += block
            continue
        yield from _lines_of(rest + head, separator)
        rest = tail
    if rest:
        yield from _lines_of(rest.removesuffix(b"\n"), separator)


def _lines_of(block: bytes, separator: bytes | None) -> Iterable[str | Fault]:
    """Decode a block of whole lines, line by line only where something in it is amiss."""
    if separator is not None:
        block = _SEPARATOR.sub(separator, block)
    block = block.replace(b"\r\n", b"\n").removesuffix(b"\r")
    try:
        text = block.decode()
    except UnicodeDecodeError:
        return map(_line_of, block.split(b"\n"))
    if _CONTROL.search(text) or not unicodedata.is_normalized("NFC", text):
        return map(_checked, text.split("\n"))
    return text.split("\n")


def _line_of(line: bytes) -> str | Fault:
    try:
        return _checked(line.decode())
    except UnicodeDecodeError:
        return Fault(INVALID, _excerpt(line.decode(errors="backslashreplace")))


def _checked(line: str) -> str | Fault:
    if _CONTROL.search(line):
        return Fault(CONTROL, _excerpt(line))
    return unicodedata.normalize("NFC", line)


def columns(lines: Iterable[str | Fault], *, tally: Tally) -> Iterator[tuple[str, str]]:
    """Yield the first two columns of tab-separated lines; what else they have is not looked at."""
    for line in lines:
        tally.read += 1
        pair: tuple[str, str] | Fault
        if isinstance(line, Fault):
            pair = line
        else:
            first, tab, rest = line.partition("\t")
            second = rest.partition("\t")[0]
            pair = pair_of(first, second) if tab else Fault(NO_TAB, _excerpt(line))
        if isinstance(pair, Fault):
            tally.leave_out(pair)
        else:
            yield pair


def side_by_side(
    first: Iterable[str | Fault], second: Iterable[str | Fault], *, tally: Tally, names: str
) -> Iterator[tuple[str, str]]:
    """Yield the pairs of two files, line by line.

    Args:
        first, second: the lines of each.
        tally: counts what is read and what is left out.
        names: what errors call the two files.

    Raises:
        DataError: one has more lines than the other.
    """
    for one, other in zip_longest(first, second):
        if one is None or other is None:
            raise DataError(
                f"{names} differ in length: one ends after {plural(tally.read, 'line')}.",
                hint="Line N of one must translate line N of the other.",
            )
        tally.read += 1
        pair = pair_of(one, other)
        if isinstance(pair, Fault):
            tally.leave_out(pair)
        else:
            yield pair


def pair_of(first: str | Fault, second: str | Fault) -> tuple[str, str] | Fault:
    """Return two sentences without the space around them, or what is wrong with them."""
    if isinstance(first, Fault):
        return first
    if isinstance(second, Fault):
        return second
    if not first.strip() or not second.strip():
        return Fault(EMPTY, _excerpt(f"{first}\t{second}"))
    if len(first) > LONGEST or len(second) > LONGEST:
        longer = max(first, second, key=len)
        return Fault(TOO_LONG, f"{len(longer):,} characters, {_excerpt(longer)}")
    if "\t" in first or "\t" in second:
        return Fault(CONTROL, _excerpt(f"{first} | {second}"))
    return first.strip(), second.strip()


def refuse_if_many(tally: Tally, *, name: str) -> None:
    """Refuse a file of which more than a tenth, and more than four lines, are no pairs.

    Raises:
        DataError: it shows three of them with their line numbers.
    """
    bad = tally.dropped.total()
    if bad > 4 and bad * 10 > tally.read:
        shown = "; ".join(map(str, tally.examples))
        raise DataError(
            f"{name}: {bad:,} of {tally.read:,} lines are not pairs of sentences ({tally}): "
            f"{shown}.",
            hint="Each line of a TSV is a sentence, a tab and its translation, in UTF-8.",
        )


def _excerpt(line: str) -> str:
    cut = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
    return repr(cut)
