"""Every question of the assignment, asked in miniature: its numbers are of the right size."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest
import torch

import dlcli
from dlcli.assignment import evidence, layernorm, nmt, vae
from dlcli.assignment.evidence import MU, SIGMA, by_hand
from dlcli.assignment.lab import Lab
from dlcli.assignment.nmt import interval_of_aer, uniform_attention
from dlcli.assignment.question import Answer, Number, Question, Text
from dlcli.assignment.vae import workshop_command
from dlcli.nmt.networks import AttentionGru


def numbers(answer: Answer) -> dict[str, Number]:
    """Return an answer's numbers by name, after looking at what every answer must have."""
    assert answer.words
    assert answer.commands
    assert all(command.startswith(("dl ", "pytest ")) for command in answer.commands)
    for one in answer.numbers:
        assert "version:dlcli-" in one.signature, one.name
    for figure in answer.figures:
        assert figure.svg.lstrip().startswith("<?xml")
        assert len(figure.alt) > 20
        assert figure.caption
    found = {one.name: one for one in answer.numbers}
    assert len(found) == len(answer.numbers), "two numbers have one name"
    return found


def number(answer: Answer, beginning: str) -> Number:
    """Return the number of this name, or the only one whose name begins so."""
    named = numbers(answer)
    if beginning in named:
        return named[beginning]
    (found,) = (one for name, one in named.items() if name.startswith(beginning))
    return found


def value_of(answer: Answer, beginning: str) -> float:
    """Return the value of that number, which has to be there."""
    found = number(answer, beginning).value
    assert found is not None
    return found


def test_near_is_zero_and_far_is_half_a_square(lab: Lab) -> None:
    found = numbers(evidence.divergence.answer(lab))
    exact = [one.value for name, one in found.items() if name.endswith("closed form")]
    assert exact == [0, pytest.approx(4.5)]


def test_the_formula_by_hand_is_what_the_code_computes(lab: Lab) -> None:
    answer = evidence.loss_terms.answer(lab)
    assert number(answer, "KL(q ‖ p)").value == pytest.approx(by_hand(MU, SIGMA))
    assert number(answer, "L_reg, `pretrained:vae-conv`").value == pytest.approx(22.88, abs=0.01)
    assert number(answer, "L_reg, over draws, `pretrained:vae-best`").value is not None
    assert len(answer.figures) == 2, "a learned prior has no shares"
    for figure in answer.figures:
        places = re.findall(r'id="xtick_\d+">.*?<!-- ([\d.]+) -->', figure.svg, re.DOTALL)
        assert len(places) > 3
        assert all(place.isdigit() for place in places), "latents are counted"


def test_importance_sampling_finds_the_exact_truth(lab: Lab) -> None:
    answer = evidence.prior_average.answer(lab)
    found = number(answer, "D = 2: log p̂(x), importance")
    truth = float(found.reference.removeprefix("exactly "))
    assert found.value == pytest.approx(truth, abs=0.2)
    assert number(answer, "D = 2: KL").reference.startswith("8.4")


def test_the_draws_agree_with_what_is_known_exactly(lab: Lab) -> None:
    answer = vae.sampling.answer(lab)
    prior, white = number(answer, "log N(z; 0, I)"), number(answer, "share of white pixels")
    assert prior.error is not None
    assert white.error is not None
    exact, expected = -10 * math.log(2 * math.pi * math.e), float(white.reference.split()[0])
    assert prior.value == pytest.approx(exact, abs=4 * prior.error)
    assert white.value == pytest.approx(expected, abs=4 * white.error + 1e-3)


def test_the_gap_is_not_negative_and_the_signature_tells_the_data(lab: Lab) -> None:
    answer = vae.bounds.answer(lab)
    gap = number(answer, "gap between ELBO and IWAE-5")
    assert value_of(answer, "gap between") > 0
    assert "data:glyphs:70|" in gap.signature
    assert "trained-on:mnist" in gap.signature
    assert "other images than it knows" in answer.notes[0]
    best = number(answer, "−IWAE-5 of `pretrained:vae-best`")
    assert best.name.endswith("with a learned prior")
    assert "two stochastic layers" in best.reference
    assert answer.commands[1].startswith("dl vae eval --run pretrained:vae-best ")


def test_every_snapshot_has_its_bound_and_its_gap(lab: Lab) -> None:
    answer = vae.bounds_in_training.answer(lab)
    assert len(numbers(answer)) == 4
    assert not answer.notes


def test_the_score_function_scatters_more(lab: Lab) -> None:
    answer = vae.gradients.answer(lab)
    assert value_of(answer, "variance, score function") > 1
    assert "trained-on" not in number(answer, "variance, score function").signature


def test_three_networks_that_differ_in_one_setting_each(lab: Lab) -> None:
    answer = vae.convolutions.answer(lab)
    found = numbers(answer)
    assert "skip:yes" in found["test −ELBO, with skips (cheating)"].signature
    assert "norm:none" in found["test −ELBO, no batch norm"].signature
    assert "norm:batch" in found["test −ELBO, with batch norm"].signature
    assert [command.endswith("--skip") for command in answer.commands] == [False, False, True]


def test_a_heavier_regulariser_leaves_less_divergence(lab: Lab) -> None:
    answer = vae.objective.answer(lab)
    assert value_of(answer, "KL, β = 0 ") > value_of(answer, "KL, β = 10")
    assert "beta:10" in number(answer, "KL, β = 10").signature


def test_shows_its_own_training_and_every_packaged_model(lab: Lab) -> None:
    answer = vae.pictures.answer(lab)
    assert len(answer.figures) == 1 + len(lab.subjects)
    assert all(figure.is_picture for figure in answer.figures)
    assert "after 0, 1 epochs" in answer.figures[0].caption
    assert 93 < value_of(answer, "−ELBO on mnist, `pretrained:vae-conv`") < 94


def test_a_grid_of_six_cells(lab: Lab) -> None:
    answer = vae.optimisers.answer(lab)
    names = [name for name in numbers(answer) if name.startswith("test −ELBO")]
    assert len(names) == 6
    assert "adam at 0.001" in names[1]
    assert "optim.lr=1.0e-4,1.0e-3,1.0e-2" in answer.commands[0]
    assert "glyphs:70" in answer.notes[0]


def test_the_report_trains_what_its_command_says(lab: Lab) -> None:
    assert workshop_command(lab) == "dl vae train --data glyphs:70 --epochs 1 --snapshots 0 1"
    assert "train-images:70|epochs:1" in lab.published("mlp").signature


def test_the_paper_s_example_runs_against_the_diagonal(lab: Lab) -> None:
    answer = nmt.attention.answer(lab)
    assert number(answer, "steps against the diagonal").value == 2
    for kind in ("attention", "the posterior"):
        name = f"alignment error rate of {kind}, 12 sentences"
        rate, value = number(answer, name), value_of(answer, name)
        low, high = rate.ci95 or (None, None)
        assert low is not None
        assert high is not None
        assert 0 <= low <= value <= high < 20
        assert "task:align|data:grammar-test" in rate.signature
        assert f"links-from:{kind.split()[-1]}|" in rate.signature


def test_the_interval_of_a_rate_is_around_it() -> None:
    known = [frozenset({(0, 0), (1, 1)})] * 100
    half = [frozenset({(0, 0), (1, 0)}) if place % 2 else known[0] for place in range(100)]
    low, high = interval_of_aer(half, known)
    assert low < 0.25 < high
    assert interval_of_aer(known, known) == (0, 0)
    assert interval_of_aer(half, known) == pytest.approx((low, high))


def test_the_stored_losses_give_the_exposure_gap(lab: Lab) -> None:
    answer = nmt.forcing.answer(lab)
    forced, free = value_of(answer, "loss after the true"), value_of(answer, "loss after its own")
    assert value_of(answer, "exposure gap") == pytest.approx(free - forced)
    gaps = [value_of(answer, f"stored, Multi30k, ratio {ratio}: expo") for ratio in (1, 0.5, 0)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert "compare-forcing" in answer.commands[1]


def test_a_decoder_whose_attention_is_made_uniform_is_worse(lab: Lab) -> None:
    answer = nmt.memory.answer(lab)
    uniform = "the grammar: BLEU with attention made uniform"
    assert value_of(answer, "the grammar: BLEU with attention") > value_of(answer, uniform) + 10
    assert "attention-weights:uniform" in number(answer, uniform).signature
    assert "does not train a second translator" in answer.notes[0]
    assert "cannot be compared" in answer.notes[1]
    assert all("WMT14" not in one.reference for one in answer.numbers if "grammar" in one.name)


@pytest.mark.parametrize("question", [nmt.memory, nmt.forcing])
def test_stored_results_are_those_of_the_readme(question: Question) -> None:
    page = (Path(dlcli.__file__).parent / "nmt" / "README.md").read_text(encoding="utf-8")
    stored = [part for part in Text(question.number).stored() if isinstance(part, Number)]
    assert stored
    for one in stored:
        assert one.signature in page
        shown_there = f"| {one.value} " if one.ci95 is None else f"{one.value} [{one.ci95[0]}, "
        assert shown_there in page or f"| {one.value:.2f} " in page, one.name


def test_uniform_attention_looks_at_all_words_alike(lab: Lab) -> None:
    trained, _ = lab.translator
    uniform = uniform_attention(trained)
    source = torch.tensor([[5, 6, 7, 8]])
    found = uniform.model.force(source, source > 0, torch.tensor([[1, 9, 10]])).attention
    assert torch.allclose(found, torch.full_like(found, 0.25), atol=1e-3)
    assert isinstance(trained.model, AttentionGru)
    assert trained.model.decoder.attention is not None
    assert trained.model.decoder.attention.v.abs().max() > 0


def test_both_equations_agree_with_autograd(lab: Lab) -> None:
    found = numbers(layernorm.equations.answer(lab))
    assert len(found) == 2
    assert all(one.value is not None and one.value < 1e-10 for one in found.values())


def test_pre_norm_falls_with_depth_and_post_norm_does_not(lab: Lab) -> None:
    answer = layernorm.depth.answer(lab)
    assert value_of(answer, "slope against depth, pre") < value_of(
        answer, "slope against depth, post"
    )
    assert "Xiong" in number(answer, "slope against depth, pre").reference
    assert len(answer.figures) == 2


@pytest.mark.parametrize(
    "question",
    [vae.sampling, evidence.divergence, evidence.prior_average, vae.bounds, layernorm.equations],
)
def test_printed_commands_name_a_seed_that_is_not_the_usual_one(
    question: Question, lab: Lab
) -> None:
    commands = question.answer(dataclasses.replace(lab, seed=7)).commands
    assert commands
    assert all(command.endswith(" --seed 7") for command in commands)
    assert lab.and_seed == ""
