from __future__ import annotations

import pytest

from dlcli.assignment.catalogue import QUESTIONS
from dlcli.assignment.question import select
from dlcli.errors import UsageFault


def test_all_questions_where_none_is_named() -> None:
    assert select(QUESTIONS, []) == list(QUESTIONS)


def test_those_named_in_the_order_of_the_catalogue() -> None:
    assert [question.number for question in select(QUESTIONS, [12, 2, 2])] == [2, 12]


def test_an_unknown_section_names_those_there_are() -> None:
    with pytest.raises(UsageFault, match="no section 17") as caught:
        select(QUESTIONS, [17])
    assert "1, 2, 3" in caught.value.hint
