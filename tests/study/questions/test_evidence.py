from __future__ import annotations

import re

from dlcli.assignment.evidence import EVIDENCE as QUESTION
from dlcli.assignment.lab import Lab
from tests.study.questions.answers import number


def test_importance_sampling_finds_the_exact_truth(lab: Lab) -> None:
    answer = QUESTION.answer(lab)
    found = number(answer, "D = 2: log p̂(x), importance")
    truth = float(re.sub(r"^exactly ", "", found.reference))
    assert found.value is not None
    assert abs(found.value - truth) < 0.2
    assert number(answer, "D = 2: KL").reference.startswith("8.4")
