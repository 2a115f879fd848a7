""""""

from __future__ import annotations

import math
import re

import pytest

from dlcli.assignment.evidence import DIVERGENCE, EVIDENCE, LOSS, MU, SAMPLING, SIGMA, by_hand
from dlcli.assignment.lab import Lab
from tests.assignment.answers import number, numbers


def test_near_is_zero_and_far_is_half_a_square(lab: Lab) -> None:
    found = numbers(DIVERGENCE.answer(lab))
    exact = [one.value for name, one in found.items() if name.endswith("closed form")]
    assert exact == [0, pytest.approx(4.5)]


def test_the_formula_by_hand_is_what_the_code_computes(lab: Lab) -> None:
    answer = LOSS.answer(lab)
    assert number(answer, "KL(q ‖ p)").value == pytest.approx(by_hand(MU, SIGMA))
    assert number(answer, "L_reg, `pretrained:vae-conv`").value == pytest.approx(22.88, abs=0.01)
    assert number(answer, "L_reg, over draws, `pretrained:vae-best`").value is not None
    assert len(answer.figures) == 2, "a learned prior has no shares"


def test_importance_sampling_finds_the_exact_truth(lab: Lab) -> None:
    answer = EVIDENCE.answer(lab)
    found = number(answer, "D = 2: log p̂(x), importance")
    truth = float(re.sub(r"^exactly ", "", found.reference))
    assert found.value is not None
    assert abs(found.value - truth) < 0.2
    assert number(answer, "D = 2: KL").reference.startswith("8.4")


def test_the_draws_agree_with_what_is_known_exactly(lab: Lab) -> None:
    answer = SAMPLING.answer(lab)
    prior = number(answer, "log N(z; 0, I)")
    assert prior.value is not None
    assert prior.error is not None
    exact = -10 * math.log(2 * math.pi * math.e)
    assert abs(prior.value - exact) < 4 * prior.error
    ink = number(answer, "share of white pixels")
    assert ink.value is not None
    assert ink.error is not None
    assert abs(ink.value - float(ink.reference.split()[0])) < 4 * ink.error + 1e-3
