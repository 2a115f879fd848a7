from __future__ import annotations

import pytest

from dlcli.assignment.lab import Lab
from dlcli.assignment.nmt import FORCING as QUESTION
from tests.study.questions.answers import number


def test_the_stored_losses_give_the_exposure_gap(lab: Lab) -> None:
    answer = QUESTION.answer(lab)
    forced, free, gap = (
        number(answer, beginning).value
        for beginning in ("loss after the true", "loss after its own", "exposure gap")
    )
    assert forced is not None
    assert free is not None
    assert gap == pytest.approx(free - forced)
    assert "compare-forcing" in answer.commands[1]
