from __future__ import annotations

from dlcli.assignment.question import figure
from dlcli.display.plots import Line, lines


def test_the_same_figure_has_the_same_text() -> None:
    def drawn() -> str:
        line = Line(name="a", x=[1, 2], y=[1, 3])
        return figure(
            lambda path: lines(path, [line], x_label="x", y_label="y"), alt="a line", caption="c"
        ).svg

    assert "<svg" in drawn()
    assert drawn() == drawn()
