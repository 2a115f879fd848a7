"""What all figures share: same bytes, nothing global touched, clear refusals."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

from dlcli.display.plots import (
    OKABE_ITO,
    colour,
    house_style,
    label,
    new_figure,
    save_figure,
    scaled,
)
from dlcli.errors import DlError, UsageFault


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_the_same_figure_has_the_same_bytes_in_every_format(suffix: str) -> None:
    found = []
    for name in ("one", "two"):
        with house_style():
            figure = new_figure(2, 1.5)
            figure.add_subplot().plot([1, 2], [3, 1], label="a curve")
            found.append(save_figure(figure, Path(name + suffix)).read_bytes())
    assert found[0] == found[1]
    assert len(found[0]) > 500


def test_the_users_settings_change_nothing_and_are_not_changed() -> None:
    with matplotlib.rc_context({"font.size": 30.0, "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        with house_style():
            assert matplotlib.rcParams["font.size"] == 9.0
            assert matplotlib.rcParams["axes.grid"]
        assert dict(matplotlib.rcParams) == before


def test_another_suffix_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(UsageFault) as caught:
        save_figure(new_figure(1, 1), Path("x.jpg"))
    assert ".svg" in caught.value.hint


def test_an_unwritable_path_is_an_error_of_ours() -> None:
    Path("file").write_text("in the way")
    with pytest.raises(DlError, match="file"):
        save_figure(new_figure(1, 1), Path("file/x.png"))


def test_labels_are_one_short_line_and_no_formula() -> None:
    assert label("a\n b") == "a b"
    assert label("x" * 99, longest=10) == "x" * 9 + "…"
    assert label("$5 and $6") == r"\$5 and \$6"


def test_words_without_a_glyph_do_not_warn() -> None:
    with house_style():
        figure = new_figure(1, 1)
        figure.text(0, 0, label("汉字 $x$"))
        save_figure(figure, Path("x.png"))


def test_the_palette_repeats() -> None:
    assert len(set(OKABE_ITO)) == 8
    assert colour(8) == colour(0)


def test_a_scaled_figure_is_smaller_and_the_next_one_is_not() -> None:
    with scaled(0.5):
        small = new_figure(4, 2)
    assert small.get_size_inches().tolist() == [2, 1]
    assert new_figure(4, 2).get_size_inches().tolist() == [4, 2]
