""""""

from __future__ import annotations

from itertools import groupby

from dlcli.assignment.catalogue import QUESTIONS


def test_the_sixteen_questions_stand_in_order() -> None:
    assert [question.number for question in QUESTIONS] == list(range(1, 17))


def test_a_chapter_is_in_one_piece() -> None:
    chapters = [name for name, _ in groupby(QUESTIONS, lambda question: question.chapter)]
    assert len(chapters) == len(set(chapters)) == 3


def test_every_question_asks_something() -> None:
    assert all(question.asks.endswith("?") and question.title for question in QUESTIONS)
