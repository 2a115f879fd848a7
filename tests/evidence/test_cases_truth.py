"""The truth of a decoder's case is that of its own image."""

from __future__ import annotations

import math

import torch

from dlcli.evidence.cases import simulated_cases
from dlcli.evidence.config import EvidenceConfig
from dlcli.evidence.models import log_likelihood, log_prior


def test_quadrature_is_of_the_image_that_was_drawn():
    config = EvidenceConfig(model="bernoulli", dims=(1,), pixels=9, hidden=5)
    (case,) = simulated_cases(config)
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None, None]
    terms = log_likelihood(case.model, case.x, z.to(case.model.dtype)).double() + log_prior(z)
    exact = float(terms.logsumexp(0)) + math.log(18 / 20_000)
    assert case.truth is not None
    assert abs(case.truth.log_p - exact) < 1e-4
