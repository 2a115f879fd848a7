"""Grids of images: labels where they belong, pixels as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcli.display.images import image_grid, snapshots

IMAGES = np.linspace(0, 1, 6)[:, None, None] * np.ones((6, 28, 28))


def names(axis: object) -> list[str]:
    return [tick.get_text() for tick in axis.get_ticklabels()]  # type: ignore[attr-defined]


def test_rows_and_columns_are_named() -> None:
    figure = image_grid(
        Path("grid.png"),
        IMAGES.reshape(2, 3, 28, 28),
        row_labels=["input", "mean of p(x|z)"],
        column_labels=["0", "1", "a label much wider than its column"],
        title="Reconstructions",
    )
    axes = figure.axes[0]
    assert names(axes.yaxis) == ["input", "mean of p(x|z)"]
    assert names(axes.xaxis) == ["0", "1", "a label much wider than its column"]
    assert [text.get_text() for text in figure.texts] == ["Reconstructions"]
    assert axes.get_xticks().tolist() == [13.5, 43.5, 73.5]
    assert axes.get_yticks().tolist() == [13.5, 43.5]
    width, height = figure.get_size_inches()
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels(), *figure.texts]:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width * figure.dpi
        assert box.y1 <= height * figure.dpi


def test_every_image_is_drawn_in_whole_dots() -> None:
    image_grid(Path("grid.png"), IMAGES, columns=3, title="title")
    with Image.open("grid.png") as read:
        grey = np.asarray(read.convert("L"))
    for level in np.rint(np.linspace(0, 1, 6)[:-1] * 255):
        rows, columns = np.nonzero(np.abs(grey - level) <= 1)
        inside = columns[rows == rows[len(rows) // 2]]
        assert len(inside) >= 28 * 4


def test_missing_images_are_paper() -> None:
    figure = image_grid(Path("grid.png"), IMAGES[:4] * 0, columns=3)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert (shown[30:, 30:] == 1.0).all()
    assert (shown[:28, :28] == 0.0).all()


def test_snapshots_stand_side_by_side_under_their_names() -> None:
    panels = {"epoch 0": IMAGES[:4], "epoch 10": IMAGES[:4], "epoch 80": IMAGES[:4]}
    figure = snapshots(Path("snapshots.svg"), panels, title="the same z")
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    places = [axes.get_position() for axes in figure.axes]
    assert places[0].x1 < places[1].x0 < places[1].x1 < places[2].x0
    assert len({place.y0 for place in places}) == 1


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        image_grid(Path("grid.png"), IMAGES, columns=3, row_labels=["one"])
    with pytest.raises(ValueError, match="no panels"):
        snapshots(Path("x.png"), {})


def test_the_same_grid_has_the_same_bytes() -> None:
    image_grid(Path("a.png"), IMAGES, row_labels=["a", "b"], title="t")
    image_grid(Path("b.png"), IMAGES, row_labels=["a", "b"], title="t")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
