from __future__ import annotations

from dlcli.assignment.lab import Lab
from dlcli.assignment.vae import GRADIENTS as QUESTION
from tests.study.questions.answers import number


def test_the_score_function_scatters_more(lab: Lab) -> None:
    ratio = number(QUESTION.answer(lab), "variance, score function")
    assert ratio.value is not None
    assert ratio.value > 1
    assert "trained-on" not in ratio.signature
