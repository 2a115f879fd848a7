""""""

from __future__ import annotations

import json

import pytest

from dlcli.assignment.catalogue import QUESTIONS
from dlcli.assignment.question import Answer, Figure, Number, figure, read_answer, select
from dlcli.display.console import to_json
from dlcli.display.plots import Line, lines
from dlcli.errors import UsageFault


def test_an_answer_comes_back_from_json_as_it_was() -> None:
    answer = Answer(
        words=("One.", "Two."),
        formula="a = b",
        numbers=(
            Number(name="a", value=1.5, error=0.1, signature="s"),
            Number(name="b", value=None, ci95=(0.0, None), reference="r", signature="s"),
        ),
        figures=(Figure(svg="<svg/>", alt="a", caption="c", is_picture=True),),
        commands=("dl env",),
        notes=("n",),
    )
    assert read_answer(json.loads(to_json(answer))) == answer


def test_the_same_figure_has_the_same_text() -> None:
    def drawn() -> str:
        line = Line(name="a", x=[1, 2], y=[1, 3])
        return figure(
            lambda path: lines(path, [line], x_label="x", y_label="y"), alt="a line", caption="c"
        ).svg

    assert "<svg" in drawn()
    assert drawn() == drawn()


def test_all_questions_where_none_is_named() -> None:
    assert select(QUESTIONS, []) == list(QUESTIONS)


def test_those_named_in_the_order_of_the_catalogue() -> None:
    assert [question.number for question in select(QUESTIONS, [12, 2, 2])] == [2, 12]


def test_an_unknown_section_names_those_there_are() -> None:
    with pytest.raises(UsageFault, match="no section 17") as caught:
        select(QUESTIONS, [17])
    assert "1, 2, 3" in caught.value.hint
