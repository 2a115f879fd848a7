from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.diagnostics import Spread, assess, summarize
from dlcli.evidence.estimators import prior_weights
from tests.evidence.calibration import linear_case, mixed_cases


def lognormal(sd: float, count: int, seed: int = 0) -> torch.Tensor:
    return sd * torch.randn(count, 1, generator=generator(seed), dtype=torch.float64)


def test_even_weights_are_trusted():
    found = assess(summarize(lognormal(0.5, 2000)), name="test")
    assert found.verdict == "trust"
    assert found.ci95[0] < 0.125 < found.ci95[1]
    assert found.evaluations == 2000


def test_one_dominating_weight_is_rejected_in_words():
    log_weight = torch.zeros(1_000_000, 1)
    log_weight[77] = 20.0
    found = assess(summarize(log_weight), name="test", ceiling=100.0)
    assert found.verdict == "reject"
    assert found.reason == "one of 1,000,000 samples carries 100% of the weight"
    assert found.ci95[1] == 100.0
    assert found.std_error >= 20


def test_exact_weights_are_exact():
    found = assess(summarize(torch.full((10, 1), -7.0)), name="test")
    assert (found.verdict, found.log_p, found.std_error) == ("trust", -7.0, 0.0)
    assert found.pareto_k == math.inf
    assert "exact" in found.reason


def test_zero_weights_are_rejected_without_nan():
    found = assess(summarize(torch.full((10, 1), -math.inf)), name="test", ceiling=0.0)
    assert found.verdict == "reject"
    assert found.log_p == -math.inf
    assert "every weight is zero" in found.reason
    assert not math.isnan(found.ess + found.max_weight)


def test_one_sample_is_rejected():
    found = assess(summarize(torch.tensor([[-3.0]])), name="test", ceiling=0.0)
    assert found.verdict == "reject"
    assert found.ci95[1] == 0.0


def test_few_samples_leave_doubt():
    assert assess(summarize(lognormal(0.1, 10)), name="test").verdict == "doubt"


def test_heavy_tails_are_not_trusted():
    uniform = torch.rand(20_000, 1, generator=generator(3), dtype=torch.float64)
    for k in (0.9, 1.2, 1.5):
        assert assess(summarize(-k * torch.log(uniform)), name="test").verdict != "trust"


def test_bounded_weights_worth_hundreds_are_trusted_whatever_the_textbook_k_says():
    """Uniform log-weights over 60 nats: k̂ ≫ 1 on the 3√N largest, yet 170 effective samples."""
    log_weight = -6000 * torch.rand(1_000_000, 1, generator=generator(4), dtype=torch.float64)
    found = assess(summarize(log_weight), name="test")
    assert found.pareto_k > 1
    assert found.tail_k < 0.5
    assert found.verdict == "trust"
    assert "carry nothing" in found.reason


def test_a_given_spread_replaces_the_weights_own():
    found = assess(summarize(lognormal(0.5, 2000)), name="t", spread=Spread(0.01, 0.0, 15))
    assert 0.01 <= found.std_error < 0.012


@pytest.mark.parametrize("dim", [20, 200])
def test_the_prior_is_rejected_beyond_a_few_dimensions(dim: int):
    for seed in range(5):
        model, x, _ = linear_case(seed, dim=dim)
        for summary in prior_weights(
            model, x, samples=[10, 100, 1000, 10_000], generator=generator(seed)
        ):
            assert assess(summary, name="prior").verdict == "reject"


def test_verdicts_on_mixed_cases():
    cases = list(mixed_cases(40, largest=10_000))
    trusted = [case for case in cases if case.estimate.verdict == "trust"]
    assert len(trusted) >= 10
    assert max(case.error_in_se for case in trusted) < 4
    strong = [case for case in cases if case.log_ratio and case.log_ratio >= math.log(100)]
    assert len(strong) >= 5
    assert sum(case.estimate.verdict == "trust" for case in strong) >= len(strong) - 1
    for case in cases:
        if case.estimate.verdict == "reject":
            low, high = case.estimate.ci95
            assert low - 1e-9 <= case.truth <= high + 1e-9


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_verdicts_on_1000_mixed_cases():
    cases = list(mixed_cases(1000))
    wrong = [c for c in cases if c.estimate.verdict == "trust" and c.error_in_se > 4]
    assert len(wrong) <= 1, wrong
    strong = [case for case in cases if case.log_ratio and case.log_ratio >= math.log(100)]
    share = sum(case.estimate.verdict == "trust" for case in strong) / len(strong)
    print(f"{len(strong)} strong cases, trusted {share:.3f}; wrong {len(wrong)}")
    assert len(strong) >= 100
    assert share >= 0.95
    hopeless = [c for c in cases if c.log_ratio is not None and c.log_ratio < math.log(1e-3)]
    assert {c.estimate.verdict for c in hopeless if c.kind.startswith("prior")} == {"reject"}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_intervals_cover_over_2000_seeds():
    """D = 2, 10^6 prior samples, new W, z and x each; below 100 effective samples apart."""
    many, few = [], []
    for seed in range(2000):
        model, x, _ = linear_case(seed, "coverage", dim=2)
        (summary,) = prior_weights(model, x, samples=[1_000_000], generator=generator(seed, "z"))
        found = assess(summary, name="prior", ceiling=float(model.ceiling(x)))
        covered = found.ci95[0] <= float(model.log_evidence(x)) <= found.ci95[1]
        (many if found.ess >= 100 else few).append(covered)
    every = (sum(many) + sum(few)) / 2000
    text = f"all {every:.4f}; ESS ≥ 100: {sum(many) / len(many):.4f} of {len(many)}; "
    print(text + f"below: {sum(few) / len(few):.4f} of {len(few)}")
    assert 0.935 <= sum(many) / len(many) <= 0.965
    assert sum(few) / len(few) >= 0.935


def test_few_but_even_samples_are_trusted():
    """Forty annealing chains that agree are worth forty, and more cannot be asked of them."""
    found = assess(summarize(lognormal(0.1, 40)), name="test")
    assert (found.verdict, found.ess > 35) == ("trust", True)
