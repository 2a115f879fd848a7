"""Lines of text out of files that anybody may have written: what is no sentence is told apart.

Lines end at "\\n" or "\\r\\n" and nowhere else (`str.splitlines` would also cut at U+2028 and at
control characters, and so shift one side of a corpus against the other).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import BinaryIO

from dlcli.errors import DataError

LONGEST = 10_000
"""Characters that a side of a pair may have."""

INVALID, CONTROL, TOO_LONG = "invalid UTF-8", "control characters", "too long"
NO_TAB, EMPTY = "no tab", "empty side"

_BLOCK = 1 << 22  # bytes: large enough for speed, small beside a corpus
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that is no sentence.

    Attributes:
        reason: why, one of this module's names for it.
        excerpt: its beginning, with what cannot be shown escaped.
        number: its line number from 1, or 0 while nobody has counted.
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


def read_lines(stream: BinaryIO, *, name: str) -> Iterator[str | Fault]:
    """Yield a file's lines, in NFC and without their ends; a mark of byte order is skipped.

    Args:
        stream: the file, opened in binary.
        name: what errors call it.

    Raises:
        DataError: the file is UTF-16, which no line of it would survive.
    """
    rest = stream.read(_BLOCK)
    if rest.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            f"{name} is UTF-16, not UTF-8.",
            hint="Convert it first: `iconv -f UTF-16 -t UTF-8 FILE > NEW`.",
        )
    rest = rest.removeprefix(b"\xef\xbb\xbf")
    while block := stream.read(_BLOCK):
        head, found, tail = block.rpartition(b"\n")
        if not found:
            rest += block
            continue
        yield from _lines_of(rest + head)
        rest = tail
    if rest:
        yield from _lines_of(rest.removesuffix(b"\n"))


def _lines_of(block: bytes) -> Iterable[str | Fault]:
    """Decode a block of whole lines, line by line only where something in it is amiss."""
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
        if isinstance(line, Fault):
            tally.leave_out(line)
            continue
        first, tab, rest = line.partition("\t")
        fault = side_fault(first, rest.partition("\t")[0]) if tab else Fault(NO_TAB, _excerpt(line))
        if fault is not None:
            tally.leave_out(fault)
        else:
            yield first.strip(), rest.partition("\t")[0].strip()


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
                f"{names} differ in length: one ends after {tally.read:,} lines.",
                hint="Line N of one must translate line N of the other.",
            )
        tally.read += 1
        fault = one if isinstance(one, Fault) else other
        if not isinstance(one, Fault) and not isinstance(other, Fault):
            fault = side_fault(one, other) or ""
        if isinstance(fault, Fault):
            tally.leave_out(fault)
        elif isinstance(one, str) and isinstance(other, str):
            yield one.strip(), other.strip()


def side_fault(first: str, second: str) -> Fault | None:
    """Return what is wrong with a pair of sentences, or None."""
    if not first or not second or first.isspace() or second.isspace():
        return Fault(EMPTY, _excerpt(f"{first}\t{second}"))
    if len(first) > LONGEST or len(second) > LONGEST:
        longer = max(first, second, key=len)
        return Fault(TOO_LONG, f"{len(longer):,} characters, {_excerpt(longer)}")
    if "\t" in first or "\t" in second:
        return Fault(CONTROL, _excerpt(f"{first} | {second}"))
    return None


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
