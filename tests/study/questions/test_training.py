from __future__ import annotations

from dlcli.assignment.lab import Lab
from dlcli.assignment.vae import TRAINING as QUESTION
from dlcli.assignment.vae import workshop_command, workshop_run
from tests.study.questions.answers import numbers


def test_a_grid_of_six_cells(lab: Lab) -> None:
    answer = QUESTION.answer(lab)
    names = [name for name in numbers(answer) if name.startswith("test −ELBO")]
    assert len(names) == 6
    assert "adam at 0.001" in names[1]
    assert "optim.lr=1.0e-4,1.0e-3,1.0e-2" in answer.commands[0]
    assert "glyphs:70" in answer.notes[0]


def test_the_report_trains_what_its_command_says(lab: Lab) -> None:
    assert workshop_command(lab) == "dl vae train --data glyphs:70 --epochs 1 --snapshots 0 1"
    assert "train-images:70|epochs:1" in workshop_run(lab).signature
