"""Growing sample counts: errors and their slope, and what a wished-for error costs."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.diagnostics import summarize
from dlcli.evidence.estimators import prior_weights
from dlcli.evidence.sweep import Sweep, fit_slope, run_sweep, run_to_target
from tests.evidence.calibration import linear_case


def two() -> tuple[torch.Generator, torch.Generator]:
    return generator(0), generator(1)


def easy():
    """log ρ of about 2: N ≫ ρ from a hundred samples on."""
    model, x, _ = linear_case(0, dim=2, pixels=5, noise=1.0)
    stream = functools.partial(prior_weights, model, x)
    return stream, float(model.log_evidence(x)), float(model.log_rho(x))


def swept(counts: list[int], *, repeats: int, repeat_up_to: int, **known: float | None) -> Sweep:
    stream, truth, _ = easy()
    return run_sweep(
        stream,
        name="prior",
        counts=counts,
        generators=[generator(i) for i in range(repeats)],
        repeat_up_to=repeat_up_to,
        **{"truth": truth, **known},
    )


def test_errors_fall_like_the_root_of_the_samples():
    counts = [300, 3000, 30_000]
    found = swept(counts, repeats=30, repeat_up_to=30_000, log_rho=easy()[2])
    assert [len(point.repeats) for point in found.points] == [30, 30, 30]
    assert found.slope is not None
    assert abs(found.slope + 0.5) < 0.12
    assert found.slope_asymptotic == found.slope


def test_only_cheap_counts_are_repeated():
    found = swept([10, 100, 1000], repeats=4, repeat_up_to=100)
    assert [len(point.repeats) for point in found.points] == [4, 4, 1]
    assert found.points[0].repeats[0] == found.points[0].estimate.log_p


def test_without_a_truth_there_is_no_slope():
    found = swept([10, 100], repeats=3, repeat_up_to=100, truth=None)
    assert found.slope is None
    assert found.points[0].rms_error is None
    assert fit_slope([]) is None


def test_a_wish_is_met():
    stream, truth, log_rho = easy()
    found, target = run_to_target(
        stream, name="prior", target_se=0.02, most=10**6, generators=two(), log_rho=log_rho
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
        stream, name="prior", target_se=0.01, most=10**8, generators=two(), log_rho=53.0
    )
    assert not target.reached
    assert [point.samples for point in found.points] == [10_000]
    assert target.reason == "a standard error of 0.01 would take about 10^27.0 samples"


def test_an_unknown_price_is_extrapolated():
    """A tenth of the error costs a hundred times the samples."""
    stream, _, _ = easy()
    rough, fine = (
        run_to_target(stream, name="prior", target_se=se, most=5000, generators=two())[1]
        for se in (1e-5, 1e-6)
    )
    assert not rough.reached
    assert 8 < rough.samples_needed_log10 < 13
    assert "at least 10^" in rough.reason
    assert abs(fine.samples_needed_log10 - rough.samples_needed_log10 - 2) < 1e-9


def test_a_wish_is_met_by_a_trusted_estimate_alone():
    """Ten samples may have a small spread; whether they know it is not looked at."""
    seen = []

    def stream(*, samples, generator):
        for count in samples if len(samples) == 1 else (10, 5000):
            seen.append(count)
            draws = 0.1 * torch.randn(count, 1, generator=generator, dtype=torch.float64)
            yield summarize(draws)

    found, target = run_to_target(stream, name="test", target_se=0.5, most=10**6, generators=two())
    assert seen == [10, 5000, 10_000]
    assert target.reached
    assert found.points[0].estimate.verdict == "doubt"


@pytest.mark.parametrize("flaw", ["heavy", "apart"])
def test_what_looks_good_once_must_do_so_again(flaw: str):
    """The first search is lucky; drawn anew, one weight carries all, or the mean is another."""

    def stream(*, samples, generator):
        anew = len(samples) == 1
        for count in samples if anew else (1000, 2000):
            draws = 0.1 * torch.randn(count, 1, generator=generator, dtype=torch.float64)
            if anew and flaw == "heavy":
                draws[0] = 30.0
            yield summarize(draws + (1.0 if anew and flaw == "apart" else 0.0))

    found, target = run_to_target(stream, name="test", target_se=0.5, most=10**6, generators=two())
    assert not target.reached
    assert [point.samples for point in found.points] == [1000, 2000]
    assert [point.estimate.evaluations for point in found.points] == [1000, 4000]
    assert {point.estimate.verdict for point in found.points} == {"doubt"}
    assert "anew" in found.points[-1].estimate.reason
    assert target.reason.startswith("2,000 samples show one of 0.00")
    assert target.reason.endswith("that is not to be trusted")


def test_the_asymptotic_slope_is_of_counts_of_ten_rho_alone():
    counts = [10, 100, 1000, 10_000]
    found = swept(counts, repeats=3, repeat_up_to=10_000, log_rho=math.log(60))
    assert found.slope_asymptotic == fit_slope(found.points[2:])
    assert found.slope == fit_slope(found.points)
