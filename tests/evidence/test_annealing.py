"""Annealed importance sampling in both directions, and the sandwich they make."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence import annealing
from dlcli.evidence.annealing import (
    Sandwich,
    anneal,
    anneal_backwards,
    as_estimate,
    invert,
    sandwich,
)
from dlcli.evidence.cases import integrate_evidence
from dlcli.evidence.diagnostics import Estimate, Verdict, assess, summarize
from dlcli.evidence.estimators import importance_weights, laplace_proposal
from dlcli.evidence.hmc import choose_schedule
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
    exact = integrate_evidence(model, x, generator=generator(9)).log_p
    assert abs(estimate.log_p - exact) < 4 * estimate.std_error
    assert estimate.std_error < 0.2
    assert found.evaluations == 64 * (200 * schedule.steps + 1)


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


def test_the_truth_lies_between_the_bounds():
    for seed in range(3):
        model, x, z = linear_case(seed, dim=5)
        schedule = choose_schedule(model, x, generator=generator(seed, 1), temperatures=300)
        found = sandwich(
            model, x, z, schedule=schedule, chains=64, generators=(generator(2), generator(3))
        )
        truth = float(model.log_evidence(x))
        assert found.lower.log_p - 3 * found.lower.std_error < truth
        assert truth < found.upper.log_p + 3 * found.upper.std_error
        assert abs(found.width) < 0.5
        assert abs(found.kl_posterior_prior - float(model.kl_posterior_prior(x))) < 1.5
        estimate = as_estimate(found)
        assert estimate.name == "bdmc"
        assert estimate.verdict == "trust"
        assert estimate.ci95[0] < truth < estimate.ci95[1]
        assert estimate.details["width"] == found.width


def test_a_hasty_path_leaves_a_gap_and_doubt():
    model, x, z = linear_case(0, dim=20)
    schedule = choose_schedule(model, x, generator=generator(1), temperatures=20)
    found = sandwich(
        model, x, z, schedule=schedule, chains=64, generators=(generator(2), generator(3))
    )
    truth = float(model.log_evidence(x))
    assert found.lower.log_p < truth < found.upper.log_p
    assert found.width > 1
    assert as_estimate(found).verdict != "trust"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_sandwich_of_a_decoder_holds_every_trusted_estimate():
    """The defaults of `dl mc-estimate --model bernoulli --dims 20`."""
    for seed in range(3):
        model = random_decoder(20, generator=generator(seed, "decoder"))
        z, x = draw_pairs(model, 1, generator=generator(seed, "image"))
        schedule = choose_schedule(model, x, generator=generator(seed, "pilot"))
        pair = (generator(seed, "ahead"), generator(seed, "back"))
        found = sandwich(model, x, z, schedule=schedule, chains=128, generators=pair)
        q = laplace_proposal(model, x, generator=generator(seed, "laplace"))
        (summary,) = importance_weights(
            model, x, proposal=q, samples=[100_000], generator=generator(seed, "importance")
        )
        other = assess(summary, name="importance")
        print(seed, found.lower.log_p, found.upper.log_p, found.width, other.log_p, other.verdict)
        assert found.width <= 0.5
        if other.verdict == "trust":
            slack = 2 * (found.std_error + other.std_error)
            assert found.lower.log_p - slack <= other.log_p <= found.upper.log_p + slack
    assert torch.is_tensor(x)


def bound(log_p: float, verdict: Verdict = "trust") -> Estimate:
    noise = torch.randn(200, 1, generator=generator(0), dtype=torch.float64)
    found = assess(summarize(log_p + 0.1 * noise), name="ais")
    return replace(found, log_p=log_p, verdict=verdict, reason=f"said {verdict}")


def between(lower: Estimate, upper: Estimate) -> Sandwich:
    return Sandwich(
        lower=lower, upper=upper, kl_posterior_prior=1.0, acceptance=0.8, evaluations=10
    )


@pytest.mark.parametrize(("width", "verdict"), [(-0.1, "trust"), (0.9, "trust"), (1.1, "doubt")])
def test_trusted_bounds_far_apart_leave_doubt(width: float, verdict: str):
    found = as_estimate(between(bound(-7.0), bound(-7.0 + width)))
    assert found.verdict == verdict
    assert found.reason == f"the bounds lie {width:.2f} nats apart"
    assert found.log_p == pytest.approx(-7.0 + width / 2)
    assert found.ci95[0] <= found.ci95[1]


@pytest.mark.parametrize("pair", [("trust", "reject"), ("reject", "doubt"), ("doubt", "reject")])
def test_the_worse_bound_decides(pair: tuple[Verdict, Verdict]):
    found = as_estimate(between(bound(-7.0, pair[0]), bound(-6.9, pair[1])))
    assert found.verdict == "reject"
    assert "said reject" in found.reason


def test_the_error_covers_the_gap_and_both_ends():
    lower, upper = replace(bound(-7.0), std_error=0.3), replace(bound(-5.0), std_error=0.4)
    found = between(lower, upper)
    assert found.std_error == pytest.approx(math.sqrt(0.25 * (0.3**2 + 0.4**2) + 1.0))


def test_inverting_twice_changes_nothing():
    once = invert(bound(-7.0))
    assert once.log_p == 7.0
    low, high = bound(-7.0).ci95
    assert once.ci95 == (-high, -low)
    assert invert(once) == bound(-7.0)
