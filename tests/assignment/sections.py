"""Sections for tests of the page, made without measuring anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlcli.assignment.question import Answer, Figure, Number, Question, Section
from dlcli.display.plots import Line, lines


def svg(folder: Path) -> str:
    path = folder / "figure.svg"
    line = Line(name="a", x=[1, 2], y=[1, 3])
    lines(path, [line], x_label="x", y_label="y")
    return path.read_text(encoding="utf-8")


def section(
    figures: tuple[Figure, ...] = (), *, number: int = 1, failure: str = "", **changes: Any
) -> Section:
    fields: dict[str, Any] = {
        "words": ("Words with *weight* and `code`.",),
        "formula": "x_m ~ N(0, I)",
        "numbers": (
            Number(name="a loss", value=1.234, error=0.05, unit="nats", signature="one|two"),
            Number(name="b", value=-2.0, ci95=(-3.0, None), reference="r", signature="three"),
        ),
        "figures": figures,
        "commands": ("dl env",),
        "notes": ("Mind the gap.",),
    }
    question = Question(
        number=number, chapter="Chapter", title="Title", asks="Why?", answer=lambda _: answer
    )
    answer = Answer(**(fields | changes))
    if failure:
        return Section(question=question, answer=None, failure=failure, hint="Fetch it.")
    return Section(question=question, answer=answer)


def picture(text: str, *, is_picture: bool = False) -> Figure:
    return Figure(svg=text, alt="A rising line.", caption="Cap.", is_picture=is_picture)
