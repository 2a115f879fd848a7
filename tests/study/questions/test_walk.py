from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dlcli.assignment.lab import Cache, Lab, answered
from dlcli.assignment.question import Answer, Question
from dlcli.errors import DataError, Interrupted


def _question(number: int, calls: list[int], *, error: BaseException | None = None) -> Question:
    def answer(_: Lab) -> Answer:
        calls.append(number)
        if error is not None:
            raise error
        return Answer(words=("w",), numbers=(), figures=(), commands=("dl env",))

    return Question(number=number, chapter="c", title="t", asks="a?", answer=answer)


def test_a_second_walk_only_redoes_what_changed(lab: Lab, tmp_path: Path) -> None:
    calls: list[int] = []
    questions, cache = [_question(1, calls), _question(2, calls)], Cache(tmp_path)
    first = list(answered(questions, lab, cache=cache))
    second = list(answered(questions, lab, cache=cache))
    assert calls == [1, 2]
    assert [section.kept for section in (*first, *second)] == [False, False, True, True]
    assert [one.answer for one in first] == [one.answer for one in second]
    list(answered(questions, dataclasses.replace(lab, seed=1), cache=cache))
    assert calls == [1, 2, 1, 2]


@pytest.mark.parametrize(
    "error", [DataError("MNIST is not here.", hint="Fetch it."), ValueError("odd"), OSError("disk")]
)
def test_a_section_that_fails_says_so_and_the_rest_stands(
    lab: Lab, tmp_path: Path, error: Exception
) -> None:
    calls: list[int] = []
    questions = [_question(1, calls, error=error), _question(2, calls)]
    failed, done = answered(questions, lab, cache=Cache(tmp_path))
    assert failed.answer is None
    assert str(error) in failed.failure
    assert failed.hint
    assert done.answer is not None
    list(answered(questions, lab, cache=Cache(tmp_path)))
    assert calls == [1, 2, 1], "a failure is no answer to keep"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Interrupted("Interrupted.", hint="")])
def test_an_interruption_keeps_what_was_answered(
    lab: Lab, tmp_path: Path, stop: BaseException
) -> None:
    calls: list[int] = []
    questions = [_question(1, calls), _question(2, calls, error=stop)]
    with pytest.raises(Interrupted, match="1 of 2 sections"):
        list(answered(questions, lab, cache=Cache(tmp_path)))
    assert next(answered(questions[:1], lab, cache=Cache(tmp_path))).kept
