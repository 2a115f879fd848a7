""""""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.evidence.bench import Bench, fit_slope, nats_to_log10, run_sweep, run_to_target
from dlcli.evidence.cases import Case, simulated_cases
from dlcli.evidence.config import AnnealingConfig, EvidenceConfig
from dlcli.evidence.diagnostics import summarize
from dlcli.evidence.estimate import run
from dlcli.evidence.estimators import DiagonalGaussian, prior_weights
from dlcli.evidence.models import log_prior
from tests.evidence.calibration import linear_case

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


# -- `control` shares its points among 16 replicates: too few are a fault, not a crash


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
    *_, last = run(control(**given))
    estimate = last.results[0].estimators[0].estimate
    assert estimate.samples == 32
    assert math.isfinite(estimate.log_p)


def test_small_counts_are_left_out_where_a_larger_one_is_there():
    """Only the 10 is cheap enough to be repeated here, and `control` cannot visit it."""
    *_, last = run(control(samples=(10, 100), repeat_numbers=40))
    sweep = last.results[0].estimators[0].sweep
    assert sweep is not None
    assert [(point.samples, len(point.repeats)) for point in sweep.points] == [(96, 1)]


# -- `importance` draws from the proposal that a case brings along


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


def two() -> tuple[torch.Generator, torch.Generator]:
    return generator(0), generator(1)


def easy():
    """log ρ of about 2: N ≫ ρ from a hundred samples on."""
    model, x, _ = linear_case(0, dim=2, pixels=5, noise=1.0)

    def stream(source: torch.Generator, counts):
        for summary in prior_weights(model, x, samples=counts, generator=source):
            yield summary, None

    return stream, float(model.log_evidence(x)), float(model.log_rho(x))


def test_errors_fall_like_the_root_of_the_samples():
    stream, truth, log_rho = easy()
    found = run_sweep(
        stream,
        name="prior",
        counts=[300, 3000, 30_000],
        generators=[generator(i) for i in range(30)],
        repeat_up_to=30_000,
        truth=truth,
        log_rho=log_rho,
    )
    assert [len(point.repeats) for point in found.points] == [30, 30, 30]
    assert found.slope is not None
    assert abs(found.slope + 0.5) < 0.12
    assert found.slope_asymptotic == found.slope


def test_only_cheap_counts_are_repeated():
    stream, truth, _ = easy()
    found = run_sweep(
        stream,
        name="prior",
        counts=[10, 100, 1000],
        generators=[generator(i) for i in range(4)],
        repeat_up_to=100,
        truth=truth,
    )
    assert [len(point.repeats) for point in found.points] == [4, 4, 1]
    assert found.points[0].repeats[0] == found.points[0].estimate.log_p


def test_without_a_truth_there_is_no_slope():
    stream, _, _ = easy()
    generators = [generator(i) for i in range(3)]
    found = run_sweep(
        stream, name="prior", counts=[10, 100], generators=generators, repeat_up_to=100
    )
    assert found.slope is None
    assert found.points[0].rms_error is None
    assert fit_slope([]) is None


def test_a_wish_is_met():
    stream, truth, log_rho = easy()
    found, target = run_to_target(
        stream,
        name="prior",
        target_se=0.02,
        most=10**6,
        generators=two(),
        log_rho=log_rho,
    )
    last = found.points[-1].estimate
    assert target.reached
    assert last.std_error <= 0.02
    assert abs(last.log_p - truth) < 4 * 0.02
    # N ≈ ρ/se², at most √2 too many in the search, and twice as many again are reported.
    first = found.points[-2].estimate
    assert first.samples < 2.5 * math.exp(log_rho) / 0.02**2
    assert last.samples == 2 * first.samples
    assert (first.evaluations, last.evaluations) == (first.samples, 3 * first.samples)
    assert last.log_p != first.log_p


def test_a_hopeless_wish_is_refused_at_once():
    stream, _, _ = easy()
    found, target = run_to_target(
        stream,
        name="prior",
        target_se=0.01,
        most=10**8,
        generators=two(),
        log_rho=53.0,
    )
    assert not target.reached
    assert [point.samples for point in found.points] == [10_000]
    assert target.reason == "a standard error of 0.01 would take about 10^27.0 samples"


def test_an_unknown_price_is_extrapolated():
    stream, _, _ = easy()
    _, target = run_to_target(stream, name="prior", target_se=1e-5, most=5000, generators=two())
    assert not target.reached
    assert 8 < target.samples_needed_log10 < 13
    assert "at least 10^" in target.reason


def test_a_wish_is_met_by_a_trusted_estimate_alone():
    """Ten samples may have a small spread; they are not asked whether they know it."""
    seen = []

    def stream(source: torch.Generator, counts):
        for count in counts if len(counts) == 1 else (10, 5000):
            seen.append(count)
            draws = 0.1 * torch.randn(count, 1, generator=source, dtype=torch.float64)
            yield summarize(draws), None

    found, target = run_to_target(stream, name="test", target_se=0.5, most=10**6, generators=two())
    assert seen == [10, 5000, 10_000]
    assert target.reached
    assert found.points[0].estimate.verdict == "doubt"


@pytest.mark.parametrize("flaw", ["heavy", "apart"])
def test_what_looks_good_once_must_do_so_again(flaw: str):
    """The first search is lucky; drawn anew, one weight carries all, or the mean is another."""

    def stream(source: torch.Generator, counts):
        anew = len(counts) == 1
        for count in counts if anew else (1000, 2000):
            draws = 0.1 * torch.randn(count, 1, generator=source, dtype=torch.float64)
            if anew and flaw == "heavy":
                draws[0] = 30.0
            yield summarize(draws + (1.0 if anew and flaw == "apart" else 0.0)), None

    found, target = run_to_target(stream, name="test", target_se=0.5, most=10**6, generators=two())
    assert not target.reached
    assert [point.samples for point in found.points] == [1000, 2000]
    assert [point.estimate.evaluations for point in found.points] == [1000, 4000]
    assert {point.estimate.verdict for point in found.points} == {"doubt"}
    assert "anew" in found.points[-1].estimate.reason
    assert target.reason.startswith("2,000 samples show one of 0.00")
    assert target.reason.endswith("that is not to be trusted")


def test_a_tenth_of_the_error_costs_a_hundred_times_the_samples():
    stream, _, _ = easy()
    needed = [
        run_to_target(stream, name="prior", target_se=se, most=2000, generators=two())[1]
        for se in (1e-5, 1e-6)
    ]
    assert abs(needed[1].samples_needed_log10 - needed[0].samples_needed_log10 - 2) < 1e-9


def test_the_asymptotic_slope_is_of_counts_of_ten_rho_alone():
    stream, truth, _ = easy()
    found = run_sweep(
        stream,
        name="prior",
        counts=[10, 100, 1000, 10_000],
        generators=[generator(i) for i in range(3)],
        repeat_up_to=10_000,
        truth=truth,
        log_rho=math.log(60),
    )
    assert found.slope_asymptotic == fit_slope(found.points[2:])
    assert found.slope == fit_slope(found.points)
