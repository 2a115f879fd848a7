"""`dl mc-estimate`: every estimator on every case, growing results, progress and signature."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dlcli.engine.settings import MachineConfig
from dlcli.errors import ConfigError, RunFailed, UsageFault
from dlcli.evidence.cases import Case, simulated_cases
from dlcli.evidence.config import AnnealingConfig, EvidenceConfig
from dlcli.evidence.estimate import CaseEstimators, McEstimate, run, sign, to_dict
from dlcli.evidence.estimators import DiagonalGaussian
from dlcli.evidence.models import BernoulliDecoder, log_prior
from tests.evidence.calibration import linear_case

SMALL = EvidenceConfig(
    dims=(2, 4),
    pixels=25,
    samples=(10, 1000),
    repeats=3,
    annealing=AnnealingConfig(chains=32, temperatures=40),
)


def last_of(config: EvidenceConfig) -> McEstimate:
    *_, last = run(config)
    return last


def test_results_grow_and_the_last_is_complete():
    steps = list(run(SMALL))
    assert [len(step.results) for step in steps] == [1, 1, 1, 2, 2, 2, 2]
    assert [step.complete for step in steps] == [False] * 6 + [True]
    assert [each.estimate.name for each in steps[-1].results[1].estimators] == [
        "prior", "importance", "ais",
    ]  # fmt: skip


def test_fields_that_scripts_rely_on():
    found = to_dict(last_of(SMALL))
    assert set(found) >= {"model", "results", "signature", "partial"}
    for result in found["results"]:
        assert set(result) >= {
            "dim", "truth", "truth_kind", "kl_posterior_prior", "samples_needed_log10",
            "estimators",
        }  # fmt: skip
        expected = result["kl_posterior_prior"] / math.log(10)
        assert abs(result["samples_needed_log10"] - expected) < 1e-12
        for each in result["estimators"]:
            assert set(each) >= {
                "name", "samples", "log_p", "std_error", "ci95", "ess", "max_weight",
                "pareto_k", "verdict", "slope", "sweep",
            }  # fmt: skip
            assert len(each["ci95"]) == 2
            assert abs(each["bias"] - (each["log_p"] - result["truth"])) < 1e-9
        prior = result["estimators"][0]
        assert [len(point["repeats"]) for point in prior["sweep"]] == [3, 3]


def test_same_seed_same_numbers():
    def logs():
        results = last_of(SMALL).results
        return [each.estimate.log_p for result in results for each in result.estimators]

    assert logs() == logs()


def test_the_signature_says_what_matters():
    text = sign(SMALL)
    for part in ("dims:2,4", "samples:10,1000", "chains:32", "noise-variance:0.1", "seed:0"):
        assert part in text
    only_prior = sign(replace(SMALL, estimators=("prior",)))
    assert "chains" not in only_prior
    assert "importance-samples" not in only_prior
    assert sign(replace(SMALL, compute=MachineConfig(threads=2))) == text
    assert "repeat-numbers:5" in sign(replace(SMALL, repeat_numbers=5))


@pytest.mark.parametrize("name", ["dims", "estimators", "samples"])
def test_empty_lists_are_refused(name: str):
    with pytest.raises(ConfigError, match=f"--{name} is empty"):
        next(run(replace(SMALL, **{name: ()})))


def test_a_decoder_that_returns_nan_ends_the_run():
    broken = BernoulliDecoder(lambda z: torch.full((z.shape[0], 3), math.nan), 2, name="my-decoder")
    case = Case(model=broken, precise=broken, x=torch.ones(1, 3))
    with pytest.raises(RunFailed, match="'my-decoder' returned NaN"):
        list(run(SMALL, cases=[case]))


def test_the_price_of_a_standard_error_falls_with_its_square():
    first = last_of(replace(SMALL, estimators=("prior",))).results[0]
    assert first.truth is not None
    assert first.truth.log_rho is not None
    expected = first.truth.log_rho / math.log(10) + 4
    assert abs(first.samples_for_se_log10(0.01) - expected) < 1e-9


CONFIG = EvidenceConfig(
    dims=(3,),
    pixels=25,
    samples=(64, 1024),
    repeats=3,
    annealing=AnnealingConfig(chains=64, temperatures=60),
)


def estimators(config: EvidenceConfig = CONFIG) -> CaseEstimators:
    return CaseEstimators(next(simulated_cases(config)), config)


@pytest.mark.parametrize("name", ["prior", "importance", "ais", "bdmc", "control"])
def test_every_estimator_runs_and_says_its_bias_and_how_far_it_is(name: str):
    case = next(simulated_cases(CONFIG))
    stages: dict[str, list[float]] = {}

    def progress(done: float, stage: str) -> None:
        stages.setdefault(stage, []).append(done)

    found = CaseEstimators(case, CONFIG, progress=progress).run(name)
    assert found.estimate.name == name
    assert ("low" in found.bias_direction) or name == "bdmc"
    assert found.estimate.evaluations > 0
    assert (found.sweep is not None) == (name in ("prior", "importance", "control"))
    done = stages.pop(f"D = 3: {name}")
    assert (done[0], done[-1]) == (0, 1)
    assert done == sorted(set(done)), "the total is not too small"
    assert len(done) > 3
    assert stages == ({"D = 3: the pilot run": [0.0]} if name in ("ais", "bdmc") else {})


def test_the_progress_of_a_wish_has_no_end_that_is_known():
    seen: list[tuple[float, str]] = []
    config = replace(CONFIG, estimators=("prior",), target_se=0.1)
    *_, last = run(config, progress=lambda *step: seen.append(step))
    assert last.complete
    assert seen == [(0.0, "D = 3: prior")]


def test_ais_reports_its_schedule_and_the_pilots_cost():
    found = estimators().run("ais").estimate
    assert found.details["temperatures"] == 60
    assert 0 < found.details["acceptance"] <= 1
    at_work = estimators()
    spent = at_work.annealed.evaluations + at_work.schedule.evaluations
    assert found.evaluations == spent > 64 * 60


def test_the_sandwich_serves_ais_too():
    shared = estimators()
    both = shared.run("bdmc").estimate
    assert shared.run("ais").estimate.log_p == both.details["lower"]
    assert estimators().run("ais").estimate.log_p == both.details["lower"]


def test_a_decoders_truth_is_a_sandwich_beyond_two_dimensions():
    config = replace(CONFIG, model="bernoulli", hidden=6)
    found = estimators(config)
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
    found = CaseEstimators(real, CONFIG)
    assert found.truth is None
    assert found.run("importance").estimate.verdict in ("trust", "doubt")
    with pytest.raises(UsageFault, match="'test-7' is a real one"):
        found.run("bdmc")


def test_importance_stops_at_its_own_limit():
    config = replace(CONFIG, importance_samples=500)
    found = estimators(config).run("importance")
    assert found.sweep is not None
    assert [point.samples for point in found.sweep.points] == [64, 500]


def test_chains_that_hardly_move_are_doubted():
    found = estimators(replace(CONFIG, annealing=AnnealingConfig(chains=64, temperatures=200)))
    assert found.run("ais").estimate.verdict == "trust"
    found.__dict__["annealed"] = replace(found.annealed, acceptance=torch.tensor([0.1]))
    estimate = found.run("ais").estimate
    assert (estimate.verdict, estimate.reason) == (
        "doubt",
        "only 10% of the chains' moves were accepted",
    )


def test_a_price_known_from_the_divergence_alone_is_a_lower_bound():
    config = replace(CONFIG, model="bernoulli", hidden=6, target_se=1e-5)
    target = estimators(config).run("prior").target
    assert target is not None
    assert "would take at least 10^" in target.reason


def control(**given: object) -> EvidenceConfig:
    return EvidenceConfig(dims=(2,), pixels=7, estimators=("control",), repeats=3, **given)


@pytest.mark.parametrize(
    ("given", "flag"),
    [({"samples": (1, 31)}, "--samples"), ({"target_se": 0.1, "max_samples": 31}, "--max-samples")],
)
def test_too_few_samples_for_control_are_named(given: dict[str, object], flag: str):
    with pytest.raises(UsageFault, match=f"at least 32 samples, and {flag} allows 31"):
        list(run(control(**given)))


@pytest.mark.parametrize("given", [{"samples": (32,)}, {"target_se": 0.1, "max_samples": 32}])
def test_just_enough_samples_for_control_are_used(given: dict[str, object]):
    estimate = last_of(control(**given)).results[0].estimators[0].estimate
    assert estimate.samples == 32
    assert math.isfinite(estimate.log_p)


def test_small_counts_are_left_out_where_a_larger_one_is_there():
    """Only the 10 is cheap enough to be repeated here, and `control` cannot visit it."""
    last = last_of(control(samples=(10, 100), repeat_numbers=40))
    sweep = last.results[0].estimators[0].sweep
    assert sweep is not None
    assert [(point.samples, len(point.repeats)) for point in sweep.points] == [(96, 1)]


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
    found = CaseEstimators(case, config).run("importance")
    truth = float(model.log_evidence(x))
    assert found.estimate.log_p == pytest.approx(truth, abs=1e-9)
    assert found.estimate.std_error < 1e-6
    assert found.sweep is not None
    for point in found.sweep.points:
        assert point.repeats == pytest.approx([truth, truth], abs=1e-9)
