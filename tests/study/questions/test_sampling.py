from __future__ import annotations

import math

from dlcli.assignment.evidence import SAMPLING as QUESTION
from dlcli.assignment.lab import Lab
from tests.study.questions.answers import number


def test_the_draws_agree_with_what_is_known_exactly(lab: Lab) -> None:
    answer = QUESTION.answer(lab)
    prior = number(answer, "log N(z; 0, I)")
    assert prior.value is not None
    assert prior.error is not None
    exact = -10 * math.log(2 * math.pi * math.e)
    assert abs(prior.value - exact) < 4 * prior.error
    ink = number(answer, "share of white pixels")
    assert ink.value is not None
    assert ink.error is not None
    assert abs(ink.value - float(ink.reference.split()[0])) < 4 * ink.error + 1e-3
