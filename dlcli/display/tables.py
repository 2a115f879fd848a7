"""How numbers are written, with as many digits as their uncertainty allows, and their tables."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from dlcli.display.console import width_of, wrapped

MISSING = "-"
SMALL, LARGE = 1e-4, 1e7
"""Outside these, numbers are written with an exponent."""


def number(value: float | None, *, digits: int = 4) -> str:
    """Write `value` with `digits` significant digits; integers in full; None and NaN as `-`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if not SMALL <= abs(value) < LARGE:
        return f"{value:.{digits - 1}e}"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{decimals}f}"


def with_error(value: float | None, error: float | None) -> str:
    """Write `value ± error`: the error to one digit (two after a leading 1), the value likewise.

    `with_error(101.2345, 0.0512)` is `101.23 ± 0.05`; without an error, four significant digits.
    """
    if value is None or not math.isfinite(value):
        return number(value)
    if error is None or not math.isfinite(error):
        return number(float(value))
    if error <= 0:
        return f"{number(float(value), digits=6)} ± 0"
    exponent = _exponent(max(abs(value), error))
    if SMALL <= max(abs(value), error) < LARGE:
        place = _last_place(error)
        return f"{_at(value, place)} ± {_at(error, place)}"
    scale = 10.0**exponent
    place = _last_place(error / scale)
    return f"({_at(value / scale, place)} ± {_at(error / scale, place)})e{exponent:+03d}"


def interval(low: float | None, high: float | None, *, digits: int = 4) -> str:
    """Write an interval as `[low, high]`."""
    return f"[{number(low, digits=digits)}, {number(high, digits=digits)}]"


def out_of(part: int, *, whole: int) -> str:
    """Write `part of whole`, or only the part where the whole is not known (0)."""
    return f"{part} of {whole}" if whole else str(part)


def count(value: float) -> str:
    """Write a count or a speed: thousands apart (`37,012`), below 100 one decimal if it has any."""
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"


def duration(seconds: float) -> str:
    """Write a time a person waits: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(octets: float) -> str:
    """Write a size in bytes: `512 B`, `9.9 MB`, `1.2 GB` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 999.5 or unit == "GB":
            break
        octets /= 1000
    return f"{octets:.0f} {unit}" if unit == "B" or octets >= 99.95 else f"{octets:.1f} {unit}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(value))


def _last_place(error: float) -> int:
    """Return the decimal place of the error's last digit (2 = hundredths, -1 = tens)."""
    leading = f"{error:.1e}"
    digits = 2 if leading.startswith("1") else 1
    return digits - 1 - int(f"{error:.{digits - 1}e}".partition("e")[2])


def _at(value: float, place: int) -> str:
    return f"{round(value, place):.{max(0, place)}f}"


NUMERIC = re.compile(r"\(?[-+]?(\d[\d.,]*|inf)( ± [\d.]+\)?)?(e[-+]?\d+)?( ?%)?")
GAP = "  "


@dataclass(frozen=True)
class ResultTable:
    """Rich renderable: columns and rows, and below them the signatures of the numbers.

    On a terminal it is ruled and no wider than the terminal, see `fitted`. Elsewhere it is plain
    aligned lines that are easy to grep.

    Args:
        columns: names, with units: `test -ELBO (nats)`.
        rows: one value a column: text as it is, numbers through `number`, None as `-`.
        title: above the table.
        signatures: what the numbers depend on, a line each; a key other than `` names whose it is.
        header: whether the columns' names are shown.
        spare: columns that a narrow terminal does without; `--json` has them.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""
    signatures: Mapping[str, str] | str = ""
    header: bool = True
    spare: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check that rows fit columns."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(row)} values for {len(self.columns)} columns")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the terminal, or write it as plain lines."""
        width = min(width_of(console), options.max_width)
        bold, dim = (_style(console, name) for name in ("bold", "dim"))
        shown = self.fitted(width) if width else self
        blocks = shown.blocks(width)
        notes = signature_lines(self.signatures)
        if shown.header and (left_out := [c for c in self.spare if c not in shown.columns]):
            notes.insert(0, f"no room for: {', '.join(left_out)} (--json has all)")
        yield from _segments(wrapped(self.title, width) if self.title else [], bold)
        if width and shown.header:
            longest = max(cell_len(line) for block in blocks for line in block)
            yield from _segments(blocks.pop(0), bold)
            yield from _segments(["─" * longest], dim)
        yield from _segments(itertools.chain(*blocks), None)
        yield from _segments(itertools.chain(*(wrapped(note, width) for note in notes)), dim)

    def lines(self) -> list[str]:
        """Return the table as plain lines, columns two spaces apart, nothing cut."""
        return list(itertools.chain(*self.blocks()))

    def fitted(self, width: int) -> ResultTable:
        """Return the first form of the table that fits into lines of so many cells.

        As it is; without the spare columns; with texts broken between words; with rows and columns
        in each other's place; and where nothing helps each row as a list of its own.
        """
        if not self.header or self._width(whole=True) <= width:
            return self
        kept = [at for at, name in enumerate(self.columns) if name not in self.spare]
        rows = [[row[at] for at in kept] for row in self.rows]
        short = replace(self, columns=[self.columns[at] for at in kept], rows=rows, spare=())
        names = [cell(row[0]) for row in rows]
        if short._width() > width and len(set(names)) == len(names):
            values = zip(short.columns[1:], *(row[1:] for row in rows), strict=True)
            turned = replace(short, columns=[short.columns[0], *names], rows=list(values))
            if turned._width() <= width:
                return turned
        if short._width() <= width:
            return short
        lists = [[*zip(self.columns, row, strict=True), ("", "")] for row in self.rows]
        return replace(self, columns=("", ""), rows=[*itertools.chain(*lists)][:-1], header=False)

    def blocks(self, width: int = 0) -> list[list[str]]:
        """Return the lines of each row, the header first.

        Args:
            width: cells at which texts are broken between words; 0 leaves them whole.
        """
        every = self._cells()
        widths = [max(map(cell_len, column)) for column in zip(*every, strict=True)]
        over = sum(widths) + len(GAP) * (len(widths) - 1) - width if width else 0
        # A word longer than half the terminal sticks out: it makes no room for others.
        least = [min(most, max(width // 2, 1)) for most in self._least()]
        while over > 0:
            slack = [have if have > need else 0 for have, need in zip(widths, least, strict=True)]
            if not any(slack):
                break
            widths[slack.index(max(slack))] -= 1
            over -= 1
        right = [self._is_numeric(index) for index in range(len(self.columns))]
        blocks = []
        for row in every:
            parts = [
                wrapped(text, most) if cell_len(text) > most else [text]
                for text, most in zip(row, widths, strict=True)
            ]
            blocks.append(
                [
                    GAP.join(_padded(*item) for item in zip(line, widths, right, strict=True))
                    for line in itertools.zip_longest(*parts, fillvalue="")
                ]
            )
        return [[line.rstrip() for line in block] for block in blocks]

    def _cells(self) -> list[list[str]]:
        cells = [[cell(value) for value in row] for row in self.rows]
        return [[*self.columns], *cells] if self.header else cells

    def _width(self, *, whole: bool = False) -> int:
        """Return how wide the table is, with its texts whole, or broken at every word."""
        if whole:
            return max(map(cell_len, self.lines()))
        least = self._least()
        return sum(least) + len(GAP) * (len(least) - 1)

    def _least(self) -> list[int]:
        """Return the longest word of each column; a number with its error is one word."""
        columns = zip(*self._cells(), strict=True)
        return [
            max(
                cell_len(text) if NUMERIC.fullmatch(text) else max(map(cell_len, text.split(" ")))
                for text in column
            )
            for column in columns
        ]

    def _is_numeric(self, index: int) -> bool:
        cells = [cell(row[index]) for row in self.rows]
        return all(text == MISSING or NUMERIC.fullmatch(text) for text in cells) and bool(cells)


def _segments(lines: Iterable[str], style: Style | None) -> Iterator[Segment]:
    for line in lines:
        yield Segment(line, style)
        yield Segment.line()


def facts(
    values: Mapping[str, object], *, title: str = "", signatures: Mapping[str, str] | str = ""
) -> ResultTable:
    """Make a list of names and values, one a line, for a single result."""
    rows = [[name, cell(value)] for name, value in values.items()]
    return ResultTable(("", ""), rows, title=title, signatures=signatures, header=False)


def signature_lines(signatures: Mapping[str, str] | str) -> list[str]:
    """Write signatures as lines `signature …`, each after the name of whose it is."""
    if isinstance(signatures, str):
        return [f"signature {signatures}"] if signatures else []
    return [f"signature {name + ' ' if name else ''}{text}" for name, text in signatures.items()]


def cell(value: object) -> str:
    """Write one value: text on one line (spaces stay), numbers through `number`, None as `-`."""
    if value is None:
        return MISSING
    if isinstance(value, int | float):
        return number(value)
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _style(console: Console, name: str) -> Style | None:
    return console.get_style(name) if console.color_system else None
