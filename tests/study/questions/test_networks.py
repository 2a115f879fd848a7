from __future__ import annotations

from dlcli.assignment.lab import Lab
from dlcli.assignment.vae import NETWORKS_NETWORKS as QUESTION
from tests.study.questions.answers import numbers


def test_three_networks_that_differ_in_one_setting_each(lab: Lab) -> None:
    answer = QUESTION.answer(lab)
    found = numbers(answer)
    assert "skip:yes" in found["test −ELBO, with skips (cheating)"].signature
    assert "norm:none" in found["test −ELBO, no batch norm"].signature
    assert "norm:batch" in found["test −ELBO, with batch norm"].signature
    assert [command.endswith("--skip") for command in answer.commands] == [False, False, True]
