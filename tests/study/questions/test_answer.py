from __future__ import annotations

import json

from dlcli.assignment.question import Answer, Figure, Number, read_answer
from dlcli.display.console import to_json


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
