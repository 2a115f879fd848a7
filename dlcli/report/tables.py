"""Tables of results: ruled on a terminal, elsewhere plain aligned lines that are easy to grep."""

from __future__ import annotations

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

from dlcli.report.numbers import MISSING, number

NUMERIC = re.compile(r"\(?[-+]?(\d[\d.,]*|inf)( ± [\d.]+\)?)?(e[-+]?\d+)?( ?%)?")
GAP = "  "
PADDING = 3
"""Cells that Rich puts around a column."""
FOLDED = 16
"""Cells a text column keeps at least when a terminal is narrow."""


@dataclass(frozen=True)
class ResultTable:
    """Rich renderable: columns and rows, and below them the signatures of the numbers.

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
