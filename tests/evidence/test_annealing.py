from __future__ import annotations

import math
import time

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.annealing import Annealed, anneal, anneal_backwards
from dlcli.evidence.cases import integrate_evidence
from dlcli.evidence.diagnostics import assess, summarize
from dlcli.evidence.hmc import State, choose_schedule
from dlcli.evidence.models import draw_pairs, random_decoder
from tests.evidence.calibration import linear_case


def test_several_images_at_once_agree_with_the_truth():
    model, _, _ = linear_case(0, dim=3, pixels=40)
    _, x = draw_pairs(model, 3, generator=generator(1))
    schedule = choose_schedule(model, x, generator=generator(2), temperatures=200)
    found = anneal(model, x, schedule=schedule, chains=64, generator=generator(3))
    assert found.log_weight.shape == (64, 3)
    summary = summarize(found.log_weight)
    for image in range(3):
        estimate = assess(summary.column(image), name="ais")
        truth = float(model.log_evidence(x)[image])
        assert abs(estimate.log_p - truth) < 4 * estimate.std_error
    kl = found.posterior_log_likelihood() - model.log_evidence(x)
    torch.testing.assert_close(kl, model.kl_posterior_prior(x), atol=0.6, rtol=0)


def test_weights_are_unbiased_even_when_chains_are_too_short():
    """Five temperatures: spread-out weights whose mean is right all the same."""
    model, x, z = linear_case(1, dim=2, pixels=4, noise=1.0)
    schedule = choose_schedule(model, x, generator=generator(2), temperatures=5)
    ahead = anneal(model, x, schedule=schedule, chains=4000, generator=generator(3))
    back = anneal_backwards(model, x, z, schedule=schedule, chains=4000, generator=generator(4))
    truth = float(model.log_evidence(x))
    for log_weight, exact in ((ahead.log_weight, truth), (back.log_weight, -truth)):
        estimate = assess(summarize(log_weight), name="ais")
        # Backward chains share one start, which its settling moves have nearly forgotten.
        assert abs(estimate.log_p - exact) < 5 * estimate.std_error
    assert float(ahead.log_weight.mean()) < truth < -float(back.log_weight.mean())


def test_a_decoder_agrees_with_quadrature():
    model = random_decoder(
        2, generator=generator(5), hidden=(11,), pixels=30, logit_scale=3.0, dtype=torch.float64
    )
    _, x = draw_pairs(model, 1, generator=generator(6))
    schedule = choose_schedule(model, x, generator=generator(7), temperatures=200)
    found = anneal(model, x, schedule=schedule, chains=64, generator=generator(8))
    estimate = assess(summarize(found.log_weight), name="ais")
    exact = integrate_evidence(model, x, generator=generator(9)).log_evidence
    assert abs(estimate.log_p - exact) < 4 * estimate.std_error
    assert estimate.std_error < 0.2
    assert found.evaluations == 64 * (200 * schedule.steps + 1)


def test_same_seed_same_bits():
    model, x, _ = linear_case(0, dim=3, pixels=40)
    weights = []
    for _ in range(2):
        schedule = choose_schedule(model, x, generator=generator(2), temperatures=20)
        found = anneal(model, x, schedule=schedule, chains=8, generator=generator(3))
        weights.append(found.log_weight)
    assert torch.equal(*weights)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("dim", "allowed"), [(20, 0.1), (200, 0.5)])
def test_the_worst_of_ten_seeds(dim: int, allowed: float):
    """The defaults of `dl mc-estimate`."""
    errors = []
    for seed in range(10):
        began = time.process_time()
        model, x, _ = linear_case(seed, "ten", dim=dim)
        used = model if dim < 64 else model.to(torch.float32)
        schedule = choose_schedule(used, x, generator=generator(seed, "pilot"))
        found = anneal(used, x, schedule=schedule, chains=128, generator=generator(seed, "ais"))
        estimate = assess(summarize(found.log_weight), name="ais")
        error = estimate.log_p - float(model.log_evidence(x))
        errors.append((round(error, 4), round(error / estimate.std_error, 2), estimate.verdict))
        print(dim, seed, *errors[-1], schedule.temperatures, f"{time.process_time() - began:.1f} s")
    assert max(abs(error) for error, _, _ in errors) <= allowed
    assert max(abs(off) for _, off, _ in errors) <= 4


def test_the_posteriors_likelihood_is_averaged_with_the_chains_weights():
    log_likelihood = torch.tensor([[1.0, 7.0], [5.0, 7.0]], dtype=torch.float64)
    final = State(torch.zeros(2, 2, 1), log_likelihood, torch.zeros(2, 2, 1))
    log_weight = torch.tensor([[-900.0, 0.0], [-900.0 + math.log(3), 5.0]], dtype=torch.float64)
    found = Annealed(log_weight, final, torch.ones(2), 4)
    torch.testing.assert_close(
        found.posterior_log_likelihood(), torch.tensor([4.0, 7.0], dtype=torch.float64)
    )
