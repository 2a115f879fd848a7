""""""

from __future__ import annotations

from dlcli.assignment.lab import Lab
from dlcli.assignment.vae import (
    BOUNDS,
    BOUNDS_TRAINING,
    GRADIENTS,
    NETWORKS_QUESTION,
    OBJECTIVE,
    PICTURES_QUESTION,
    TRAINING,
    workshop_command,
    workshop_run,
)
from tests.assignment.answers import number, numbers


def test_the_gap_is_not_negative_and_the_signature_tells_the_data(lab: Lab) -> None:
    answer = BOUNDS.answer(lab)
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
    answer = BOUNDS_TRAINING.answer(lab)
    assert len(numbers(answer)) == 4
    assert not answer.notes


def test_the_score_function_scatters_more(lab: Lab) -> None:
    ratio = number(GRADIENTS.answer(lab), "variance, score function")
    assert ratio.value is not None
    assert ratio.value > 1
    assert "trained-on" not in ratio.signature


def test_three_networks_that_differ_in_one_setting_each(lab: Lab) -> None:
    answer = NETWORKS_QUESTION.answer(lab)
    found = numbers(answer)
    assert "skip:yes" in found["test −ELBO, with skips (cheating)"].signature
    assert "norm:none" in found["test −ELBO, no batch norm"].signature
    assert "norm:batch" in found["test −ELBO, with batch norm"].signature
    assert [command.endswith("--skip") for command in answer.commands] == [False, False, True]


def test_a_heavier_regulariser_leaves_less_divergence(lab: Lab) -> None:
    answer = OBJECTIVE.answer(lab)
    free, dear = (number(answer, f"KL, β = {beta}").value for beta in ("0 ", "10"))
    assert free is not None
    assert dear is not None
    assert free > dear
    assert "beta:10" in number(answer, "KL, β = 10").signature


def test_shows_its_own_training_and_every_packaged_model(lab: Lab) -> None:
    answer = PICTURES_QUESTION.answer(lab)
    assert len(answer.figures) == 1 + len(lab.subjects)
    assert all(figure.is_picture for figure in answer.figures)
    assert "after 0, 1 epochs" in answer.figures[0].caption
    stored = numbers(answer)["−ELBO on mnist, `pretrained:vae-conv`"]
    assert stored.value is not None
    assert 93 < stored.value < 94


def test_a_grid_of_six_cells(lab: Lab) -> None:
    answer = TRAINING.answer(lab)
    names = [name for name in numbers(answer) if name.startswith("test −ELBO")]
    assert len(names) == 6
    assert "adam at 0.001" in names[1]
    assert "optim.lr=1.0e-4,1.0e-3,1.0e-2" in answer.commands[0]
    assert "glyphs:70" in answer.notes[0]


def test_the_report_trains_what_its_command_says(lab: Lab) -> None:
    assert workshop_command(lab) == "dl vae train --data glyphs:70 --epochs 1 --snapshots 0 1"
    assert "train-images:70|epochs:1" in workshop_run(lab).signature
