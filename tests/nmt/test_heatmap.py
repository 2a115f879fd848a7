"""Attention maps as pictures and numbers: the words can be read back from each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from dlcli.display.console import to_json
from dlcli.display.images import RAMP
from dlcli.errors import UsageFault
from dlcli.nmt.attending import AttentionMap
from dlcli.nmt.heatmap import CELL_COLUMNS as CELL
from dlcli.nmt.heatmap import (
    HeatMap,
    as_matrix,
    attention_fields,
    attention_words,
    grey,
    labels,
    matrix_figure,
    save_attention,
)
from tests.display.terminals import on_pipes, on_terminal

SOURCE = ("The", "European", "Area", "...", "</s>")
TARGET = ("la", "zone", "européenne", "</s>")

MAP = AttentionMap(
    text="The European Area ...",
    translation="la zone européenne",
    source=SOURCE,
    target=TARGET,
    matrix=np.array(
        [[0.5, 0, 0.5, 0, 0], [0, 0.125, 0.875, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0.25, 0.75]]
    ),
    unknown_source=(),
    unknown_target=(1,),
    nll_per_token=1.5,
    forced=False,
    unit="words",
    signature="model:nmt|version:x",
)


@pytest.mark.parametrize("ending", ["svg", "SVG"])
def test_the_figure_carries_its_words(ending: str) -> None:
    path = save_attention(MAP, Path(f"a.{ending}"))
    drawn = re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"))
    words = [word.replace("&lt;", "<").replace("&gt;", ">") for word in drawn]
    assert words[: len(SOURCE)] == list(SOURCE)
    assert words[len(SOURCE) : len(SOURCE) + len(TARGET)] == [
        "la", "zone <unk>", "européenne", "</s>",
    ]  # fmt: skip


@pytest.mark.parametrize(("ending", "mark"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_figures_of_other_forms(ending: str, mark: bytes) -> None:
    assert save_attention(MAP, Path(f"a.{ending}")).read_bytes().startswith(mark)


def test_numbers_can_be_read_back() -> None:
    found = json.loads(save_attention(MAP, Path("a.json")).read_text(encoding="utf-8"))
    assert found["source"] == list(SOURCE)
    assert found["target"] == list(TARGET)
    assert np.array_equal(found["attention"], MAP.matrix)
    assert found["files"] == [str(Path("a.json").absolute())]
    with np.load(save_attention(MAP, Path("a.npz"))) as held:
        assert tuple(held["source"]) == SOURCE
        assert tuple(held["target"]) == TARGET
        assert np.array_equal(held["attention"], MAP.matrix)
        assert str(held["alignment"]) == MAP.alignment


def test_fields_are_those_of_the_design() -> None:
    found = json.loads(to_json(attention_fields(MAP, files=[])))
    assert {"source", "target", "attention", "alignment", "files"} <= set(found)
    assert set(found["alignment"].split()) == {"0-0", "2-1", "1-2"}
    assert (found["steps_back"], found["steps"]) == (1, 2)
    assert found["unknown"] == {"source": [], "target": [1]}
    assert found["signature"]


@pytest.mark.parametrize("columns", [80, 20])
def test_the_terminal_shows_words_shades_and_numbers(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    consoles, out, _ = on_terminal(monkeypatch, columns=columns)
    consoles.result({}, *attention_words(MAP))
    text = out.getvalue()
    assert "48;2;" in text
    assert "1 of 2 steps run against the diagonal" in text
    monkeypatch.setenv("COLUMNS", str(columns))
    consoles, out, _ = on_pipes(monkeypatch)
    consoles.result({}, *attention_words(MAP))
    plain = out.getvalue()
    assert "\x1b" not in plain
    for word in ("la", "zone <unk>", "européenne", "</s>", "la zone européenne"):
        assert word in plain
    assert "@@" in plain


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    consoles, out, _ = on_terminal(monkeypatch, no_color=True)
    consoles.result({}, *attention_words(MAP))
    assert "48;" not in out.getvalue()
    assert "@@" in out.getvalue()


def test_unknown_words_are_marked() -> None:
    assert labels(["a", "b", "<unk>"], unknown=[1, 2]) == ["a", "b <unk>", "<unk>"]


@pytest.mark.parametrize("name", ["a.txt", "a", "a.jpg"])
def test_other_endings_are_refused(name: str) -> None:
    with pytest.raises(UsageFault, match="does not say which form"):
        save_attention(MAP, Path(name))


# -- A matrix in the terminal: every word is there, and darker never means more

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


def test_a_matrix_that_does_not_fit_its_words_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="labels"):
        plain(monkeypatch, HeatMap(np.ones((5, 3)), ROWS, COLUMNS))


# -- A matrix with words on both axes as a figure

MATRIX_ROWS, MATRIX_COLUMNS = ["Le", "chat", "x" * 80], ["The", "cat", "costs", "$5", "."]


def test_rows_and_columns_carry_their_words_inside_the_figure() -> None:
    values = np.arange(15.0).reshape(3, 5)
    figure = matrix_figure(
        Path("a.png"), values, rows=MATRIX_ROWS, columns=MATRIX_COLUMNS, title="Le chat"
    )
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


def test_matrix_a_matrix_that_does_not_fit_its_words_is_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        as_matrix(np.ones((2, 3)), rows=3, columns=2)
