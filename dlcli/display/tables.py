"""How numbers are written, with as many digits as their uncertainty allows, and their tables."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

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
PADDING = 3
"""Cells that Rich puts around a column."""
FOLDED = 16
"""Cells a text column keeps at least when a terminal is narrow."""


@dataclass(frozen=True)
class ResultTable:
    """Rich renderable: columns and rows, and below them the signatures of the numbers.

    Ruled on a terminal; elsewhere plain aligned lines that are easy to grep.

    Args:
        columns: names, with units: `test -ELBO (nats)`.
        rows: one value a column: text as it is, numbers through `number`, None as `-`.
        title: above the table.
        signatures: what the numbers depend on, a line each; a key other than `` names whose it is.
        header: whether the columns' names are shown.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""
    signatures: Mapping[str, str] | str = ""
    header: bool = True

    def __post_init__(self) -> None:
        """Check that rows fit columns."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(row)} values for {len(self.columns)} columns")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the terminal, or write it as plain lines."""
        if self.title:
            yield Segment(self.title, _style(console, "bold"))
            yield Segment.line()
        if self.header and _is_ruled(console) and self._least_width() <= options.max_width:
            yield self._ruled()
        else:
            for line in self.lines():
                yield Segment(line)
                yield Segment.line()
        for line in signature_lines(self.signatures):
            yield Segment(line, _style(console, "dim"))
            yield Segment.line()

    def lines(self) -> list[str]:
        """Return the table as plain lines, columns two spaces apart, nothing cut."""
        cells = [[cell(value) for value in row] for row in self.rows]
        every = [[*self.columns], *cells] if self.header else cells
        widths = [max(map(cell_len, column)) for column in zip(*every, strict=True)]
        right = [self._is_numeric(index) for index in range(len(self.columns))]
        return [
            GAP.join(_padded(*item) for item in zip(row, widths, right, strict=True)).rstrip()
            for row in every
        ]

    def _least_width(self) -> int:
        """Return the width that ruled columns need when long texts are folded."""
        widths = [
            max(cell_len(text) for text in (name, *(cell(row[index]) for row in self.rows)))
            for index, name in enumerate(self.columns)
        ]
        return sum(
            (width if self._is_numeric(index) else min(width, FOLDED)) + PADDING
            for index, width in enumerate(widths)
        )

    def _ruled(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
        for index, name in enumerate(self.columns):
            numeric = self._is_numeric(index)
            table.add_column(
                Text(name),
                justify="right" if numeric else "left",
                no_wrap=numeric,
                min_width=min(FOLDED, cell_len(name)),
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(Text(cell(value)) for value in row))
        return table

    def _is_numeric(self, index: int) -> bool:
        cells = [cell(row[index]) for row in self.rows]
        return all(text == MISSING or NUMERIC.fullmatch(text) for text in cells) and bool(cells)


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


def _is_ruled(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _style(console: Console, name: str) -> Style | None:
    return console.get_style(name) if console.color_system else None
