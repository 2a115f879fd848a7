"""Images: as figures, as files, and in the terminal."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlcli.display.console import Consoles
from dlcli.display.images import (
    HALF_BLOCK,
    RAMP,
    PictureRows,
    as_images,
    as_rows,
    image_grid,
    join_rows,
    read_png,
    save_npz,
    save_png,
    snapshots,
)
from tests.display.terminals import AsciiPipe, on_terminal

IMAGES = np.linspace(0, 1, 6)[:, None, None] * np.ones((6, 28, 28))


def names(axis: object) -> list[str]:
    return [tick.get_text() for tick in axis.get_ticklabels()]  # type: ignore[attr-defined]


def test_rows_and_columns_are_named_inside_the_figure() -> None:
    rows, columns = ["input", "mean of p(x|z)"], ["0", "1", "a label wider than its column"]
    figure = image_grid(
        Path("grid.png"),
        IMAGES.reshape(2, 3, 28, 28),
        row_labels=rows,
        column_labels=columns,
        title="Reconstructions",
    )
    axes = figure.axes[0]
    assert (names(axes.yaxis), names(axes.xaxis)) == (rows, columns)
    assert [text.get_text() for text in figure.texts] == ["Reconstructions"]
    assert axes.get_xticks().tolist() == [13.5, 43.5, 73.5]
    assert axes.get_yticks().tolist() == [13.5, 43.5]
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels(), *figure.texts]:
        box = text.get_window_extent()
        assert min(box.x0, box.y0) >= 0
        assert (box.p1 <= figure.get_size_inches() * figure.dpi).all()


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


def test_a_png_reads_back_as_the_very_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 3), dtype=np.uint8)
    first = save_png(Path("a.png"), images)
    with Image.open(first) as read:
        assert (read.mode, read.info, read.size) == ("L", {}, (9, 6))
    back = np.rint(read_png(first, size=(3, 3)) * 255)
    assert np.array_equal(back.reshape(6, 3, 3)[:5], images)
    assert (back[1, 2] == 0).all(), "a missing image is black"


def test_colour_reads_back_too_and_goes_into_figures_and_terminals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 8, 3), dtype=np.uint8)
    save_png(Path("a.png"), images)
    back = np.rint(read_png(Path("a.png"), size=(4, 8)) * 255)
    assert back.shape == (2, 3, 4, 8, 3)
    assert np.array_equal(back.reshape(6, 4, 8, 3)[:5], images)
    figure = image_grid(Path("grid.png"), images, columns=5)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape[2] == 3
    assert np.allclose(shown[:4, 10:18], images[1] / 255)
    snapshots(Path("snapshots.png"), {"epoch 0": images, "epoch 1": images})
    first = images[0, :2, 0].flatten()
    code = "\x1b[38;2;{};{};{};48;2;{};{};{}m".format(*first)
    assert drawn(PictureRows(images), monkeypatch, columns=100).startswith(code)
    monkeypatch.undo()
    assert "\x1b" not in drawn(PictureRows(images), monkeypatch, no_color=True)


def test_the_same_values_have_the_same_bytes() -> None:
    one = save_npz(Path("a.npz"), z=torch.ones(2, 3), images=IMAGES)
    other = save_npz(Path("b.npz"), z=np.ones((2, 3), dtype=np.float32), images=IMAGES)
    assert one.read_bytes() == other.read_bytes()
    with np.load(one) as read:
        assert np.array_equal(read["images"], IMAGES)
    for path in ("a.png", "b.png"):
        image_grid(Path(path), IMAGES, row_labels=["a", "b"], title="t")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_joining_puts_each_image_in_its_place() -> None:
    images = np.arange(5)[:, None, None] / 5 * np.ones((5, 2, 3))
    joined = join_rows(as_rows(images, columns=2), gap=1)
    assert joined.shape == (3 * 2 + 2, 2 * 3 + 1)
    assert np.allclose(joined[3:5, 4:7], 3 / 5)
    for empty in (joined[2], joined[:, 3], joined[6:, 4:]):
        assert np.isnan(empty).all()


def test_images_are_read_as_floats_in_the_unit_interval() -> None:
    assert as_images(np.full((1, 2, 2), 255, np.uint8)).max() == 1.0
    found = as_images(torch.tensor([[[-1.0, float("nan")], [0.5, 7.0]]]))
    assert found.tolist() == [[[0.0, 0.0], [0.5, 1.0]]]
    assert as_rows(np.ones((7, 2, 2))).shape == (3, 3, 2, 2)
    for shape in [(28, 28), (0, 28, 28), (1, 1, 1, 1, 1, 3)]:
        with pytest.raises(ValueError, match="shape"):
            as_images(np.ones(shape))


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


@pytest.mark.parametrize(("color", "code"), [("256", "\x1b[38;5;"), ("standard", "\x1b[")])
def test_shades_are_those_the_terminal_has(
    monkeypatch: pytest.MonkeyPatch, color: str, code: str
) -> None:
    text = drawn(PictureRows([GRADIENT]), monkeypatch, color=color)
    assert HALF_BLOCK in text
    assert code in text
    assert "38;2;" not in text


def test_without_colour_a_ramp_of_ascii_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(PictureRows([GRADIENT]), monkeypatch, no_color=True)
    lines = text.splitlines()
    assert len(lines) == 14
    levels = [RAMP.index(line[0]) if line else 0 for line in lines]
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (0, len(RAMP) - 1)
    assert "\x1b" not in text


def test_a_stream_without_the_block_gets_the_ramp(monkeypatch: pytest.MonkeyPatch) -> None:
    class AsciiTerminal(AsciiPipe):
        def isatty(self) -> bool:
            return True

    on_terminal(monkeypatch)
    stream = AsciiTerminal()
    monkeypatch.setattr("sys.stdout", stream)
    Consoles().result({}, PictureRows([GRADIENT]))
    assert "@" * 28 in stream.text()


@pytest.mark.parametrize(
    ("columns", "width", "pictures"),
    [(300, 28, 6), (100, 14, 6), (80, 14, 5), (20, 14, 1), (5, 14, 1)],
)
def test_a_row_holds_as_many_pictures_as_fit(
    monkeypatch: pytest.MonkeyPatch, columns: int, width: int, pictures: int
) -> None:
    text = ESCAPES.sub("", drawn(PictureRows(np.ones((6, 28, 28))), monkeypatch, columns=columns))
    assert text.splitlines()[0] == " ".join([HALF_BLOCK * width] * pictures)
    rows = -(-6 // pictures)
    assert len(text.splitlines()) == rows * (width // 2) + rows - 1


def test_as_many_pictures_are_shown_as_are_legible_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = ESCAPES.sub("", drawn(PictureRows(np.ones((64, 28, 28))), monkeypatch, columns=80))
    lines = text.splitlines()
    assert (len(lines), lines[-1]) == (6 * 8, "(30 of 64 pictures shown)")
    digits = np.arange(9.0)[None, :, None, None] / 8 * np.ones((2, 9, 28, 28))
    text = drawn(PictureRows(digits), monkeypatch, columns=70, no_color=True)
    first, *_, last = text.splitlines()
    assert first.split(" ")[-1] == RAMP[-1] * 14, "the last column is there"
    assert last == "(4 of 9 columns shown)"
    wide = drawn(PictureRows(np.ones((2, 9, 28, 28))), monkeypatch, columns=300)
    assert "shown" not in wide


def test_only_some_rows_are_drawn_and_odd_sizes_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    only = drawn(PictureRows(np.ones((12, 28, 28)), max_rows=1), monkeypatch, columns=80)
    assert len(only.splitlines()) == 7
    odd = ESCAPES.sub("", drawn(PictureRows(np.ones((1, 5, 3))), monkeypatch))
    assert odd.splitlines() == [HALF_BLOCK * 3] * 3
