from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.errors import RunFailed
from dlcli.evidence import hmc as pilot_module
from dlcli.evidence.hmc import find_reference, run_pilot
from tests.evidence.calibration import linear_case


def test_sees_the_spread_of_the_prior_and_of_the_posterior():
    model, x, _ = linear_case(0, dim=4, pixels=30)
    reference = find_reference(model, x, generator=generator(1))
    found = run_pilot(model, x, reference=reference, steps=1, generator=generator(2))
    assert (found.betas[0], found.betas[-1]) == (0.0, 1.0)
    assert bool((found.betas.diff() > 0).all())
    # In the posterior −log p(x | z) is about half a χ² with 4 degrees of freedom: sd √2.
    # The pilot's chains lag a little behind the temperature, so the last stage alone is read.
    assert 0.6 * math.sqrt(2) < float(found.spreads[-1]) < 1.6 * math.sqrt(2)
    z = torch.randn(20_000, 1, 4, generator=generator(3), dtype=torch.float64)
    prior_sd = float(model.log_likelihood(x, z).std())
    assert 0.5 < float(found.spreads[0]) / prior_sd < 2
    assert 1.0 <= found.inefficiency < 1.6
    assert found.angles.shape == (len(found.betas), 1, 1)
    assert float(found.angles.max()) <= math.pi / 2 + 1e-12


def test_a_path_without_end_is_a_failure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pilot_module, "MOST_STAGES", 3)
    model, x, _ = linear_case(0, dim=4, pixels=30)
    reference = find_reference(model, x, generator=generator(1))
    with pytest.raises(RunFailed, match="after 3 stages"):
        run_pilot(model, x, reference=reference, steps=1, generator=generator(2))


def test_correlated_moves_cost_more():
    zero = torch.zeros(1)
    assert pilot_module.Pilot(1, zero, zero, zero, 0.5, 0).inefficiency == 3.0
    assert pilot_module.Pilot(1, zero, zero, zero, 0.0, 0).inefficiency == 1.0
