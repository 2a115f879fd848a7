"""Pictures in character cells: what fits, what shade, what without colour."""

from __future__ import annotations

import re

import numpy as np
import pytest
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from dlcli.display.console import Consoles
from dlcli.display.images import HALF_BLOCK, RAMP, PictureRows, Still, ramp_character
from tests.report.terminals import AsciiPipe, on_pipes, on_terminal

GRADIENT = np.repeat(np.linspace(0, 1, 28)[:, None], 28, axis=1)
ESCAPES = re.compile(r"\x1b\[[\d;]*m")


def drawn(rows: PictureRows, monkeypatch: pytest.MonkeyPatch, **terminal: object) -> str:
    consoles, out, _ = on_terminal(monkeypatch, **terminal)  # type: ignore[arg-type]
    consoles.result({}, rows)
    return out.getvalue()


def test_a_cell_holds_the_pixel_above_and_the_pixel_below(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.array([[[0, 255], [51, 102]]], dtype=np.uint8)
    assert drawn(PictureRows(image), monkeypatch) == (
        f"\x1b[38;2;0;0;0;48;2;51;51;51m{HALF_BLOCK}\x1b[0m"
        f"\x1b[38;2;255;255;255;48;2;102;102;102m{HALF_BLOCK}\x1b[0m\n"
    )


def test_shades_are_brought_down_to_what_the_terminal_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[38;2;" in drawn(PictureRows([GRADIENT]), monkeypatch)
    few = drawn(PictureRows([GRADIENT]), monkeypatch, color="256")
    assert "\x1b[38;5;" in few
    assert "38;2;" not in few
    least = drawn(PictureRows([GRADIENT]), monkeypatch, color="standard")
    assert HALF_BLOCK in least
    assert "38;" not in least


def test_without_colour_a_ramp_of_ascii_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, _ = on_pipes(monkeypatch)
    consoles.result({}, PictureRows([GRADIENT]))
    lines = out.getvalue().splitlines()
    assert len(lines) == 14
    levels = [RAMP.index(line[0]) if line else 0 for line in lines]
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (0, len(RAMP) - 1)
    uncoloured = drawn(PictureRows([GRADIENT]), monkeypatch, no_color=True)
    assert HALF_BLOCK not in uncoloured
    assert "\x1b" not in uncoloured


def test_a_stream_without_the_block_gets_the_ramp(monkeypatch: pytest.MonkeyPatch) -> None:
    class AsciiTerminal(AsciiPipe):
        def isatty(self) -> bool:
            return True

    on_terminal(monkeypatch)
    stream = AsciiTerminal()
    monkeypatch.setattr("sys.stdout", stream)
    Consoles().result({}, PictureRows([GRADIENT]))
    assert "@" * 28 in stream.text()
    assert "#" * 28 in stream.text()


@pytest.mark.parametrize(
    ("columns", "width", "pictures"),
    [(300, 28, 10), (100, 14, 6), (80, 14, 5), (20, 14, 1), (5, 14, 1)],
)
def test_a_row_holds_as_many_pictures_as_fit(
    monkeypatch: pytest.MonkeyPatch, columns: int, width: int, pictures: int
) -> None:
    text = ESCAPES.sub("", drawn(PictureRows(np.ones((12, 28, 28))), monkeypatch, columns=columns))
    first = text.splitlines()[0]
    assert first == " ".join([HALF_BLOCK * width] * pictures)
    rows = -(-12 // pictures)
    assert len(text.splitlines()) == rows * (width // 2) + rows - 1


def test_rows_and_columns_that_are_given_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ESCAPES.sub("", drawn(PictureRows(np.ones((2, 9, 28, 28))), monkeypatch, columns=70))
    assert len(text.splitlines()[0].split()) == 9
    only = drawn(PictureRows(np.ones((12, 28, 28)), max_rows=1), monkeypatch, columns=80)
    assert len(only.splitlines()) == 7


def test_what_stands_still_is_drawn_once_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted:
        drawn = 0

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            Counted.drawn += 1
            yield Text(f"{options.max_width} wide")

    consoles, out, _ = on_pipes(monkeypatch)
    still = Still(Counted())
    for width in (40, 40, 50, 50):
        consoles.out.print(still, width=width)
    assert Counted.drawn == 2
    assert out.getvalue() == "40 wide\n40 wide\n50 wide\n50 wide\n"


def test_odd_sizes_are_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ESCAPES.sub("", drawn(PictureRows(np.ones((1, 5, 3))), monkeypatch))
    assert text.splitlines() == [HALF_BLOCK * 3] * 3


def test_the_ramp_is_monotone() -> None:
    assert RAMP == " .:-=+*#%@"  # Paul Bourke's ten levels, lightest ink first
    levels = [RAMP.index(ramp_character(level)) for level in np.linspace(0, 1, 101)]
    assert levels == sorted(levels)
    assert set(levels) == set(range(len(RAMP)))
