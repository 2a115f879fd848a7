"""A matrix with words on both axes as a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcli.nmt.heatmap import as_matrix, matrix_figure

ROWS, COLUMNS = ["Le", "chat", "x" * 80], ["The", "cat", "costs", "$5", "."]


def test_rows_and_columns_carry_their_words_inside_the_figure() -> None:
    values = np.arange(15.0).reshape(3, 5)
    figure = matrix_figure(Path("a.png"), values, rows=ROWS, columns=COLUMNS, title="Le chat")
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()][:2] == ROWS[:2]
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
