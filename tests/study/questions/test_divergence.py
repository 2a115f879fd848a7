from __future__ import annotations

import pytest

from dlcli.assignment.evidence import DIVERGENCE as QUESTION
from dlcli.assignment.evidence import LOSS, MU, SIGMA, by_hand
from dlcli.assignment.lab import Lab
from tests.study.questions.answers import number, numbers


def test_near_is_zero_and_far_is_half_a_square(lab: Lab) -> None:
    found = numbers(QUESTION.answer(lab))
    exact = [one.value for name, one in found.items() if name.endswith("closed form")]
    assert exact == [0, pytest.approx(4.5)]


def test_the_formula_by_hand_is_what_the_code_computes(lab: Lab) -> None:
    answer = LOSS.answer(lab)
    assert number(answer, "KL(q ‖ p)").value == pytest.approx(by_hand(MU, SIGMA))
    assert number(answer, "L_reg, `pretrained:vae-conv`").value == pytest.approx(22.88, abs=0.01)
    assert number(answer, "L_reg, over draws, `pretrained:vae-best`").value is not None
    assert len(answer.figures) == 2, "a learned prior has no shares"
