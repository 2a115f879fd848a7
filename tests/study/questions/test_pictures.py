from __future__ import annotations

from dlcli.assignment.lab import Lab
from dlcli.assignment.vae import PICTURES_PICTURES as QUESTION
from tests.study.questions.answers import numbers


def test_shows_its_own_training_and_every_packaged_model(lab: Lab) -> None:
    answer = QUESTION.answer(lab)
    assert len(answer.figures) == 1 + len(lab.subjects)
    assert all(figure.is_picture for figure in answer.figures)
    assert "after 0, 1 epochs" in answer.figures[0].caption
    stored = numbers(answer)["−ELBO on mnist, `pretrained:vae-conv`"]
    assert stored.value is not None
    assert 93 < stored.value < 94
