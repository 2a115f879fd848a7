"""Lines of text from the command line, from a file, or from a pipe as they come."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Protocol, cast

import typer

from dlcli.errors import DataError, UsageFault

STANDARD_INPUT = "-"
CHUNK = 1 << 16
"""Bytes read at once: a pipe gives what it has, a file about a thousand lines."""

InputFlag = Annotated[
    Path | None,
    typer.Option(
        "--input",
        "-i",
        exists=True,
        dir_okay=False,
        help="A file of sentences, one a line.",
        show_default=False,
    ),
]


class Reads(Protocol):
    """A stream that gives what it has, at most so many bytes, and nothing at its end."""

    def read1(self, size: int, /) -> bytes:
        """Read."""
        ...


def line_groups(
    text: str | None, file: Path | None, *, flag: str = "--input"
) -> Iterator[list[str]]:
    """Yield the lines of one source, in groups as large as there are lines at hand.

    Args:
        text: what was given as TEXT; `-` or nothing means standard input.
        file: what was given as --input.
        flag: what errors call that.

    Raises:
        UsageFault: both were given.
        DataError: a line is not UTF-8; the lines before it have been yielded.
    """
    if text is not None and file is not None:
        raise UsageFault(f"TEXT and {flag} are two inputs.", hint="Leave out one of them.")
    if file is not None:
        with file.open("rb") as stream:
            yield from decoded(stream, name=str(file))
    elif text is not None and text != STANDARD_INPUT:
        typed = text.removesuffix("\n") + "\n"
        yield from decoded(io.BytesIO(typed.encode(errors="surrogateescape")), name="TEXT")
    elif sys.stdin is not None:
        yield from decoded(cast(Reads, sys.stdin.buffer), name="standard input")


def looks_like_a_file(text: str | None) -> bool:
    """Say whether TEXT is the name of a file that is here, rather than something to read."""
    try:
        return text not in (None, "", STANDARD_INPUT) and Path(text or "").is_file()
    except (OSError, ValueError):  # a text that is too long for a name, or has a NUL in it
        return False


def waits_for_typing(text: str | None, file: Path | None) -> bool:
    """Say whether lines will be read from a person at a terminal."""
    piped = text in (None, STANDARD_INPUT) and file is None
    return piped and sys.stdin is not None and sys.stdin.isatty()


def decoded(stream: Reads, *, name: str) -> Iterator[list[str]]:
    r"""Yield groups of lines; they end at "\n" or "\r\n", the last one at the end of the file.

    Args:
        stream: bytes in UTF-8, with or without a mark of byte order.
        name: what errors call it.

    Raises:
        DataError: a line is not UTF-8.
    """
    done = 0
    for block in _blocks(stream):
        if not done and block.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(
                f"The text of {name} is UTF-16, not UTF-8.",
                hint="Convert it first: `iconv -f UTF-16 -t UTF-8 FILE`.",
            )
        lines, fault = _lines(block if done else block.removeprefix(b"\xef\xbb\xbf"))
        if lines:
            yield lines
        done += len(lines)
        if fault:
            raise DataError(
                f"Line {done + 1:,} of {name} is not UTF-8: {fault}.",
                hint="Convert it first, as in `iconv -f LATIN1 -t UTF-8 FILE`.",
            )


def _blocks(stream: Reads) -> Iterator[bytes]:
    """Yield whole lines, as many as there are, without the end of the last."""
    rest = b""
    while chunk := stream.read1(CHUNK):
        head, end, tail = chunk.rpartition(b"\n")
        if end:
            yield rest + head
            rest = tail
        else:
            rest += tail
    if rest:
        yield rest


def _lines(block: bytes) -> tuple[list[str], str]:
    """Decode lines up to the first that cannot be, and say what is wrong with that one."""
    lines: list[str] = []
    for line in block.split(b"\n"):
        try:
            lines.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            return lines, f"byte {error.start + 1} is 0x{line[error.start]:02x}"
    return lines, ""
