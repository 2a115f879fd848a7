"""`importance` draws from the proposal that a case brings along."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dlcli.evidence.bench import Bench
from dlcli.evidence.cases import Case
from dlcli.evidence.config import EvidenceConfig
from dlcli.evidence.models import log_prior
from tests.evidence.calibration import linear_case


class ExactPosterior:
    """N(mean, L Lᵀ): every weight is p(x)."""

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean, self.factor = mean, torch.linalg.cholesky(covariance)

    def draw(self, count: int, *, generator: torch.Generator) -> Tensor:
        noise = torch.randn(count, *self.mean.shape, generator=generator, dtype=self.mean.dtype)
        return self.mean + noise @ self.factor.mT

    def log_density(self, z: Tensor) -> Tensor:
        standard = torch.linalg.solve_triangular(self.factor, (z - self.mean).mT, upper=False)
        return log_prior(standard.mT) - self.factor.diagonal().log().sum()


def test_the_exact_posterior_of_a_case_has_no_variance():
    model, x, _ = linear_case(0, dim=3, pixels=7)
    proposal = ExactPosterior(*model.posterior(x))
    case = Case(model=model, precise=model, x=x, proposal=proposal)
    config = EvidenceConfig(samples=(5, 50), repeats=2)
    found = Bench(case, config).run("importance")
    truth = float(model.log_evidence(x))
    assert found.estimate.log_p == pytest.approx(truth, abs=1e-9)
    assert found.estimate.std_error < 1e-6
    assert found.sweep is not None
    for point in found.sweep.points:
        assert point.repeats == pytest.approx([truth, truth], abs=1e-9)
