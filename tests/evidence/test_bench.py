from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dlcli.errors import UsageFault
from dlcli.evidence.bench import Bench, nats_to_log10
from dlcli.evidence.cases import simulated_cases
from dlcli.evidence.config import AnnealingConfig, EvidenceConfig
from dlcli.evidence.estimators import DiagonalGaussian

CONFIG = EvidenceConfig(
    dims=(3,),
    pixels=25,
    samples=(100, 1000),
    repeats=3,
    annealing=AnnealingConfig(chains=64, temperatures=60),
)


def bench(config: EvidenceConfig = CONFIG) -> Bench:
    return Bench(next(simulated_cases(config)), config)


@pytest.mark.parametrize("name", ["prior", "importance", "ais", "bdmc", "control"])
def test_every_estimator_runs_and_says_its_bias(name):
    found = bench().run(name)
    assert found.estimate.name == name
    assert ("low" in found.bias_direction) or name == "bdmc"
    assert found.estimate.evaluations > 0
    assert (found.sweep is not None) == (name in ("prior", "importance", "control"))


def test_ais_reports_its_schedule_and_the_pilots_cost():
    found = bench().run("ais").estimate
    assert found.details["temperatures"] == 60
    assert 0 < found.details["acceptance"] <= 1
    assert found.evaluations > 64 * 60


def test_the_sandwich_serves_ais_too():
    shared = bench()
    both = shared.run("bdmc").estimate
    assert shared.run("ais").estimate.log_p == both.details["lower"]
    assert bench().run("ais").estimate.log_p == both.details["lower"]


def test_a_decoders_truth_is_a_sandwich_beyond_two_dimensions():
    config = replace(CONFIG, model="bernoulli", hidden=6)
    found = bench(config)
    assert found.truth is not None
    assert found.truth.kind == "sandwich"
    prior = found.run("prior")
    assert prior.sweep is not None
    assert prior.sweep.points[0].rms_error is not None


def test_a_real_image_has_no_sandwich_but_an_encoder():
    case = next(simulated_cases(CONFIG))
    mean, covariance = case.model.posterior(case.x)
    q = DiagonalGaussian(mean, covariance.diagonal().log()[None])
    real = replace(case, z=None, truth=None, proposal=q, name="test-7")
    found = Bench(real, CONFIG)
    assert found.truth is None
    assert found.run("importance").estimate.verdict in ("trust", "doubt")
    with pytest.raises(UsageFault, match="'test-7' is a real one"):
        found.run("bdmc")


def test_a_wish_beyond_reach_is_answered_at_once():
    config = replace(CONFIG, dims=(20,), pixels=784, target_se=0.01)
    found = bench(config).run("prior")
    assert found.target is not None
    assert not found.target.reached
    assert found.target.samples_needed_log10 > 20
    assert found.estimate.samples == 10_000


def test_importance_stops_at_its_own_limit():
    config = replace(CONFIG, importance_samples=500)
    found = bench(config).run("importance")
    assert found.sweep is not None
    assert [point.samples for point in found.sweep.points] == [100, 500]


def test_units():
    assert abs(nats_to_log10(2.302585) - 1) < 1e-6


def test_chains_that_hardly_move_are_doubted():
    found = bench(replace(CONFIG, annealing=AnnealingConfig(chains=64, temperatures=200)))
    assert found.run("ais").estimate.verdict == "trust"
    found.__dict__["annealed"] = replace(found.annealed, acceptance=torch.tensor([0.1]))
    estimate = found.run("ais").estimate
    assert (estimate.verdict, estimate.reason) == (
        "doubt",
        "only 10% of the chains' moves were accepted",
    )


def test_evaluations_are_the_chains_and_the_pilots():
    found = bench()
    estimate = found.run("ais").estimate
    assert estimate.evaluations == found.annealed.evaluations + found.schedule.evaluations


def test_a_price_known_from_the_divergence_alone_is_a_lower_bound():
    config = replace(CONFIG, model="bernoulli", hidden=6, target_se=1e-5)
    target = bench(config).run("prior").target
    assert target is not None
    assert "would take at least 10^" in target.reason
