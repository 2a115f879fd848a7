"""Backward chains begin at the sample they were given, in the reference's axes."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence import annealing
from dlcli.evidence.annealing import anneal_backwards
from dlcli.evidence.hmc import choose_schedule
from dlcli.evidence.models import draw_pairs
from tests.evidence.calibration import linear_case


def test_one_over_p_is_unbiased_without_settling(monkeypatch: pytest.MonkeyPatch):
    """Each image has its own posterior sample, so that E[ŵ p(x)] = 1 before any move is made."""
    monkeypatch.setattr(annealing, "SETTLING_MOVES", 0)
    model, _, _ = linear_case(0, dim=2, pixels=3, noise=1.0)
    z, x = draw_pairs(model, 500, generator=generator(1))
    schedule = choose_schedule(model, x, generator=generator(2), temperatures=7)
    found = anneal_backwards(model, x, z, schedule=schedule, chains=1, generator=generator(3))
    relative = (found.log_weight[0] + model.log_evidence(x)).exp()  # (500,)
    std_error = float(relative.std()) / math.sqrt(len(relative))
    assert std_error < 0.1
    assert abs(float(relative.mean()) - 1) < 4 * std_error


def test_a_chain_keeps_to_its_sample_where_moves_are_tiny(monkeypatch: pytest.MonkeyPatch):
    """Then the weight is p(x | z)^−1 at the very sample."""
    monkeypatch.setattr(annealing, "SETTLING_MOVES", 0)
    model, x, z = linear_case(2, dim=3, pixels=5)
    schedule = choose_schedule(model, x, generator=generator(2), temperatures=5)
    schedule.angles.fill_(1e-9)
    found = anneal_backwards(model, x, z, schedule=schedule, chains=4, generator=generator(3))
    expected = -model.log_likelihood(x, z[None]).expand(4, 1)
    torch.testing.assert_close(found.log_weight, expected, rtol=0, atol=1e-5)
