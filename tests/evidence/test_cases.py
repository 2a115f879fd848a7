"""Simulated cases, and the truths that are known of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.engine.settings import MachineConfig
from dlcli.errors import UsageFault
from dlcli.evidence.annealing import sandwich
from dlcli.evidence.cases import integrate_evidence, sandwich_truth, simulated_cases
from dlcli.evidence.config import EvidenceConfig
from dlcli.evidence.hmc import choose_schedule
from dlcli.evidence.models import draw_pairs, log_likelihood, log_prior, random_decoder
from tests.evidence.calibration import linear_case
from tests.evidence.test_estimators import TwoBumps


def test_linear_gaussian_cases_know_the_exact_truth():
    config = EvidenceConfig(dims=(2, 20, 100), pixels=30)
    found = list(simulated_cases(config))
    assert [case.dim for case in found] == [2, 20, 100]
    assert [case.model.dtype for case in found] == [torch.float64, torch.float32, torch.float32]
    assert [case.precise.dtype for case in found] == [torch.float64] * 2 + [torch.float32]
    for case in found:
        assert case.truth is not None
        assert case.truth.kind == "exact"
        assert case.truth.log_rho is not None
        assert case.truth.kl_posterior_prior <= case.truth.log_rho
        assert case.x.shape == (1, 30)


def test_decoder_cases_know_the_truth_in_two_dimensions():
    config = EvidenceConfig(
        model="bernoulli", dims=(1, 3), pixels=20, hidden=6, compute=MachineConfig(seed=3)
    )
    small, large = simulated_cases(config)
    assert small.truth is not None
    assert small.truth.kind == "quadrature"
    assert small.truth.error <= 1e-6
    assert large.truth is None
    assert large.z is not None
    assert set(large.x.unique().tolist()) <= {0.0, 1.0}


def test_cases_follow_the_seed():
    def pixels(seed: int) -> torch.Tensor:
        config = EvidenceConfig(dims=(2,), pixels=5, compute=MachineConfig(seed=seed))
        return next(simulated_cases(config)).x

    assert torch.equal(pixels(1), pixels(1))
    assert not torch.equal(pixels(1), pixels(2))


def test_a_rejected_sandwich_is_no_truth():
    model, x, z = linear_case(0, dim=2, pixels=10)
    schedule = choose_schedule(model, x, generator=generator(1), temperatures=50)
    pair = (generator(2), generator(3))
    found = sandwich(model, x, z, schedule=schedule, chains=64, generators=pair)
    truth = sandwich_truth(found)
    assert truth is not None
    assert truth.kind == "sandwich"
    bad = replace(found, upper=replace(found.upper, verdict="reject"))
    assert sandwich_truth(bad) is None


def test_quadrature_is_of_the_image_that_was_drawn():
    """A fine grid agrees, also where a network has kinks."""
    config = EvidenceConfig(model="bernoulli", dims=(1,), pixels=20, hidden=9)
    (case,) = simulated_cases(config)
    z = torch.linspace(-9, 9, 200_001, dtype=torch.float64)[:, None, None]
    stream = generator(config.compute.seed, "model", "bernoulli", 1)
    fine = random_decoder(1, generator=stream, hidden=(9,), pixels=20, dtype=torch.float64)
    joint = log_likelihood(fine, case.x.double(), z) + log_prior(z)
    assert case.truth is not None
    assert abs(case.truth.log_p - float(joint.logsumexp(0)) - math.log(18 / 200_000)) < 1e-6


@pytest.mark.parametrize("dim", [1, 2])
def test_agrees_with_the_closed_form(dim: int):
    model, x, _ = linear_case(0, dim=dim)
    found = integrate_evidence(model, x, generator=generator(1))
    assert abs(found.log_p - float(model.log_evidence(x))) < 1e-6
    assert abs(found.kl_posterior_prior - float(model.kl_posterior_prior(x))) < 1e-5
    assert abs(found.log_rho - float(model.log_rho(x))) < 1e-5
    assert found.error <= 1e-6


def test_refining_changes_less_than_the_stated_error():
    model = random_decoder(
        2, generator=generator(5), hidden=(7,), pixels=15, logit_scale=3.0, dtype=torch.float64
    )
    _, x = draw_pairs(model, 1, generator=generator(6))
    coarse = integrate_evidence(model, x, generator=generator(7), tolerance=1e-5)
    fine = integrate_evidence(model, x, generator=generator(7), tolerance=1e-7)
    assert fine.error < coarse.error
    assert abs(coarse.log_p - fine.log_p) < 1e-5


def test_many_dimensions_are_refused():
    model, x, _ = linear_case(0, dim=3)
    with pytest.raises(UsageFault, match="over 3"):
        integrate_evidence(model, x, generator=generator(1))


def test_a_peak_between_the_nodes_is_not_missed():
    """The right bump, 0.02 wide, is nearly invisible from the first cells' nodes."""
    model = TwoBumps(places=(-1.5, 1.1), heights=(0.0, 0.0), widths=(0.02, 0.02))
    x = torch.zeros(1, 1, dtype=torch.float64)
    found = integrate_evidence(model, x, generator=generator(1))
    assert abs(found.log_p - float(model.log_masses().logsumexp(0))) < 1e-6
