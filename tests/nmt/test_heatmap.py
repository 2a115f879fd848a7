"""A matrix with words on both axes: every word can be read, and darker never means more."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from dlcli.display.images import RAMP
from dlcli.nmt.heatmap import CELL_COLUMNS as CELL
from dlcli.nmt.heatmap import HeatMap, as_matrix, grey, matrix_figure
from tests.display.terminals import on_pipes, on_terminal

ROWS, COLUMNS = ["Le", "chat", "dort"], ["The", "cat", "is", "sleeping", "."]


def plain(monkeypatch: pytest.MonkeyPatch, heat: HeatMap, *, columns: int = 120) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    consoles, out, _ = on_pipes(monkeypatch)
    consoles.result({}, heat)
    return out.getvalue().splitlines()


def test_cells_get_brighter_with_their_value(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.linspace(0, 0.5, 20)[None]
    lines = plain(monkeypatch, HeatMap(values, ["x"], [str(i % 10) for i in range(20)]))
    body = next(line for line in lines if line.startswith("x"))[2:].ljust(40)
    levels = [RAMP.index(body[i]) for i in range(0, 40, CELL)]
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (0, len(RAMP) - 1)
    greys = [grey(level) for level in np.linspace(0, 1, 256)]
    assert greys == sorted(greys)
    assert (greys[0], greys[-1]) == (0, 255)


def test_every_word_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = plain(monkeypatch, HeatMap(np.ones((3, 5)), ROWS, COLUMNS))
    heads = [line.ljust(40) for line in lines[: max(map(len, COLUMNS))]]
    start = 1 + max(map(len, ROWS))
    upright = ["".join(line[start + CELL * i] for line in heads).strip() for i in range(5)]
    assert upright == COLUMNS
    assert [line.split()[0] for line in lines[8:11]] == ROWS
    assert lines[-1].endswith(" 1.0")


def test_colour_shades_are_backgrounds(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, _ = on_terminal(monkeypatch)
    consoles.result({}, HeatMap([[0.0, 0.25, 1.0]], ["x"], ["a", "b", "c"]))
    row = next(line for line in out.getvalue().splitlines() if line.startswith("x"))
    shades = [int(shade) for shade in re.findall(r"48;2;(\d+);", row)]
    assert shades == [0, grey(0.25), 255]


def test_a_narrow_terminal_gets_bands_with_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [chr(ord("a") + i) for i in range(20)]
    lines = plain(monkeypatch, HeatMap(np.ones((2, 20)), ["x", "y"], names), columns=22)
    assert all(cell_len(line) <= 22 for line in lines)
    heads = "".join(line for line in lines if not line.startswith(("x", "y", "0")))
    assert heads.split() == names
    assert sum(line.startswith("x ") for line in lines) == 2


def test_labels_of_any_kind_keep_the_cells_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["", "e\u0301te\u0301", "汉字", "x" * 99, "tab\tnew\nline"]
    columns = ["", "e\u0301", "汉", "y" * 99, "a\nb"]
    lines = plain(monkeypatch, HeatMap(np.ones((5, 5)), rows, columns))
    body = [line for line in lines if line.endswith("@" * 5 * CELL)]
    assert len(body) == 5
    assert len({cell_len(line) for line in body}) == 1
    assert len(lines) == 16 + 5 + 1


def test_an_empty_attention_is_all_dark(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = plain(monkeypatch, HeatMap(np.zeros((1, 2)), ["x"], ["a", "b"]))
    assert lines[1].rstrip() == "x"


# -- A matrix with words on both axes as a figure

MATRIX_ROWS, MATRIX_COLUMNS = ["Le", "chat", "x" * 80], ["The", "cat", "costs", "$5", "."]


def test_rows_and_columns_carry_their_words_inside_the_figure() -> None:
    values = np.arange(15.0).reshape(3, 5)
    figure = matrix_figure(Path("a.png"), values, rows=MATRIX_ROWS, columns=MATRIX_COLUMNS)
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()][:2] == MATRIX_ROWS[:2]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "The", "cat", "costs", r"\$5", ".",
    ]  # fmt: skip
    assert np.array_equal(np.asarray(axes.images[0].get_array()), values)
    width, height = figure.get_size_inches() * figure.dpi
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels(), *figure.texts]:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height


def test_darker_is_more_and_white_is_zero() -> None:
    figure = matrix_figure(
        Path("a.png"), np.linspace(0, 0.7, 9)[None], rows=["x"], columns=list("abcdefghi")
    )
    image = figure.axes[0].images[0]
    shades = image.to_rgba(np.asarray(image.get_array()))[0, :, :3].mean(axis=1)
    assert shades[0] == pytest.approx(1.0)
    assert (np.diff(shades) < 0).all()


@pytest.mark.parametrize("values", [[[0.0]], [[float("nan")]]])
def test_an_empty_attention_can_be_drawn(values: list[list[float]]) -> None:
    matrix_figure(Path("a.pdf"), values, rows=["x"], columns=["y"])
    assert Path("a.pdf").stat().st_size > 1000


def test_a_matrix_that_does_not_fit_its_words_is_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        as_matrix(np.ones((2, 3)), rows=3, columns=2)
