from __future__ import annotations

import torch

from dlcli.evidence.cases import sandwich_truth, simulated_cases
from dlcli.evidence.config import EvidenceConfig, PlaceConfig


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
        model="bernoulli", dims=(1, 3), pixels=20, hidden=6, compute=PlaceConfig(seed=3)
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
        config = EvidenceConfig(dims=(2,), pixels=5, compute=PlaceConfig(seed=seed))
        return next(simulated_cases(config)).x

    assert torch.equal(pixels(1), pixels(1))
    assert not torch.equal(pixels(1), pixels(2))


def test_a_rejected_sandwich_is_no_truth():
    from dataclasses import replace

    from dlcli.engine.seed import generator
    from dlcli.evidence.annealing import sandwich
    from dlcli.evidence.hmc import choose_schedule
    from tests.evidence.calibration import linear_case

    model, x, z = linear_case(0, dim=2, pixels=10)
    schedule = choose_schedule(model, x, generator=generator(1), temperatures=50)
    pair = (generator(2), generator(3))
    found = sandwich(model, x, z, schedule=schedule, chains=64, generators=pair)
    truth = sandwich_truth(found)
    assert truth is not None
    assert truth.kind == "sandwich"
    bad = replace(found, upper=replace(found.upper, verdict="reject"))
    assert sandwich_truth(bad) is None
