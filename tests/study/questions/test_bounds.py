from __future__ import annotations

from dlcli.assignment.lab import Lab
from dlcli.assignment.vae import BOUNDS as QUESTION
from dlcli.assignment.vae import BOUNDS_TRAINING as TRAINING
from tests.study.questions.answers import number, numbers


def test_the_gap_is_not_negative_and_the_signature_tells_the_data(lab: Lab) -> None:
    answer = QUESTION.answer(lab)
    gap = number(answer, "gap between ELBO and IWAE-5")
    assert gap.value is not None
    assert gap.value > 0
    assert "data:glyphs:70|" in gap.signature
    assert "trained-on:mnist" in gap.signature
    assert "away from home" in answer.notes[0]
    best = number(answer, "−IWAE-5 of `pretrained:vae-best`")
    assert best.name.endswith("with a learned prior")
    assert "two stochastic layers" in best.reference
    assert answer.commands[1].startswith("dl vae eval --run pretrained:vae-best ")


def test_every_snapshot_has_its_bound_and_its_gap(lab: Lab) -> None:
    answer = TRAINING.answer(lab)
    assert len(numbers(answer)) == 4
    assert not answer.notes
