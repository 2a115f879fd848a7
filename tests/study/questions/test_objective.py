from __future__ import annotations

from dlcli.assignment.lab import Lab
from dlcli.assignment.vae import OBJECTIVE as QUESTION
from tests.study.questions.answers import number


def test_a_heavier_regulariser_leaves_less_divergence(lab: Lab) -> None:
    answer = QUESTION.answer(lab)
    free, dear = (number(answer, f"KL, β = {beta}").value for beta in ("0 ", "10"))
    assert free is not None
    assert dear is not None
    assert free > dear
    assert "beta:10" in number(answer, "KL, β = 10").signature
