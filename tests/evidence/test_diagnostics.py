"""Weights, their interval and tail, and the verdict that follows."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcli.engine.seed import generator
from dlcli.engine.statistics import NORMAL_QUANTILE, student_quantile
from dlcli.evidence.diagnostics import (
    MARKOV_NATS,
    RunningWeights,
    assess,
    chunks,
    fit_generalized_pareto,
    log_interval,
    pareto_k,
    relative_moments,
    summarize,
    tail_length,
)
from dlcli.evidence.estimators import prior_weights
from tests.evidence.calibration import linear_case, mixed_cases


def lognormal(sd: float, count: int, seed: int = 0) -> torch.Tensor:
    return sd * torch.randn(count, 1, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("sd", "count", "verdict"), [(0.5, 2000, "trust"), (0.1, 40, "trust"), (0.1, 10, "doubt")]
)
def test_even_weights_are_trusted_unless_there_are_few(sd: float, count: int, verdict: str):
    """Forty annealing chains that agree are worth forty, which is all there is."""
    found = assess(summarize(lognormal(sd, count)), name="test")
    assert (found.verdict, found.evaluations) == (verdict, count)
    assert found.ci95[0] < sd**2 / 2 < found.ci95[1]


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
    assert "k̂" not in found.reason, "beside trust it says nothing"


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


def test_moments_agree_with_the_plain_formulas():
    w = torch.rand(50, generator=generator(0), dtype=torch.float64) ** 3
    error, skewness = relative_moments(50, tuple(float((w**k).sum()) for k in (1, 2, 3)))
    assert abs(error - float(w.std() / w.mean()) / math.sqrt(50)) < 1e-12
    third = float(((w - w.mean()) ** 3).mean() / w.var(unbiased=False) ** 1.5)
    assert abs(skewness - third / math.sqrt(50)) < 1e-12


def test_small_errors_give_the_delta_methods_interval():
    found = log_interval(1e-4, 0.0, degrees=1e9)
    assert abs(found.std_error - 1e-4) < 1e-7
    assert abs(found.low + NORMAL_QUANTILE * 1e-4) < 1e-7
    assert abs(found.high - NORMAL_QUANTILE * 1e-4) < 1e-7
    assert log_interval(0.0, 0.0, degrees=5).high == 0.0


def test_lower_end_is_never_below_markovs_bound():
    assert log_interval(1.0, 0.9, degrees=2).low >= -MARKOV_NATS
    assert abs(math.exp(-MARKOV_NATS) - 0.025) < 1e-12


@pytest.mark.parametrize("expected_ess", [10, 30, 100, 300])
def test_covers_the_mean_of_weights_like_the_priors(expected_ess: float):
    """The prior's weights at D = 2 form a Poisson process: uniform −log w, `expected_ess`/2 a nat.

    The true mean is known, so the interval's coverage can be counted without any model.
    """
    count, trials = 40, 3000
    stream = generator(1, expected_ess)
    covered = 0
    for _ in range(trials):
        number = int(torch.poisson(torch.tensor(expected_ess / 2 * count), generator=stream))
        w = torch.exp(-count * torch.rand(number, generator=stream, dtype=torch.float64))
        # Among N = 10^6 samples the rest weigh nothing.
        sums = tuple(float((w**k).sum()) for k in (1, 2, 3))
        error, skewness = relative_moments(10**6, sums)
        ess = sums[0] ** 2 / sums[1]
        found = log_interval(error, skewness, degrees=ess - 1)
        gap = math.log(expected_ess / 2) - math.log(sums[0])
        covered += found.low <= gap <= found.high
    coverage = covered / trials
    assert 0.938 < coverage < (0.992 if expected_ess < 30 else 0.978)


def test_few_effective_samples_widen_the_interval_like_students_t():
    few, many = (log_interval(1e-3, 0.0, degrees=degrees) for degrees in (4, 1e9))
    assert abs(few.high / many.high - student_quantile(4) / NORMAL_QUANTILE) < 2e-3
    assert few.std_error > 1.3 * many.std_error


def weight_sets() -> list[torch.Tensor]:
    """50 sets of log-weights: Pareto of several shapes, log-normal, bounded; 60 to 20,000 each."""
    sets = []
    for seed in range(50):
        stream = generator(seed, "pareto")
        count = (60, 300, 1000, 4000, 20_000)[seed % 5]
        uniform = torch.rand(count, generator=stream, dtype=torch.float64)
        kinds = (
            -(0.1 + 0.02 * seed) * torch.log(uniform),
            (0.2 + 0.1 * seed) * torch.special.ndtri(uniform),
            -20 * uniform,
            torch.log(uniform),
        )
        sets.append(kinds[seed % 4] - 500)
    return sets


def test_agrees_with_arviz_on_50_weight_sets():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

        for log_weight in weight_sets():
            tail = summarize(log_weight[:, None]).tail[: tail_length(len(log_weight)) + 1, 0]
            _, theirs = arviz.psislw(log_weight.numpy().copy())
            assert abs(pareto_k(tail) - float(theirs)) < 1e-2


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_finds_the_shape_of_a_pareto_tail(k: float):
    uniform = torch.rand(20_000, generator=generator(0), dtype=torch.float64)
    exceedances = (torch.expm1(-k * torch.log(uniform)) / k).sort().values
    shape, scale = fit_generalized_pareto(exceedances)
    assert abs(shape - k) < 4 * (1 + k) / math.sqrt(20_000)
    assert abs(scale - 1) < 0.1


def test_no_tail_no_fit():
    constant = torch.zeros(30, dtype=torch.float64)
    assert pareto_k(constant) == math.inf
    assert pareto_k(torch.tensor([0.0, -1.0, -2.0, -3.0, -4.0])) == math.inf
    assert pareto_k(torch.full((9,), -math.inf)) == math.inf
    assert pareto_k(torch.tensor([0.0, -800.0, -801.0, -802.0, -803.0, -804.0, -805.0])) == math.inf


def weights(count: int = 5000, columns: int = 3) -> torch.Tensor:
    return 3 * torch.randn(count, columns, generator=generator(0), dtype=torch.float64) - 900


def test_the_tail_is_a_fifth_of_few_and_three_roots_of_many():
    assert [tail_length(n) for n in (1, 50, 225, 10_000, 10**6)] == [1, 10, 45, 300, 3000]


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 911, 5000])
def test_chunks_change_nothing(columns: int, size: int):
    log_weight = weights(columns=columns)
    running = RunningWeights(columns, capacity=5000)
    for part in log_weight.split(size):
        running.update(part)
    found, whole = running.summary(), summarize(log_weight)
    torch.testing.assert_close(found.log_mean, whole.log_mean)
    torch.testing.assert_close(found.sums, whole.sums)
    sorted_weights = log_weight.sort(0, descending=True).values
    length = tail_length(5000) + 1
    assert torch.equal(found.tail[:length], sorted_weights[:length])


def test_summary_agrees_with_the_plain_formulas():
    log_weight = weights()
    w = (log_weight - log_weight.max(0).values).exp()
    found = summarize(log_weight)
    torch.testing.assert_close(found.log_mean, log_weight.logsumexp(0) - math.log(5000))
    torch.testing.assert_close(found.ess, w.sum(0) ** 2 / (w**2).sum(0))
    torch.testing.assert_close(found.max_share, 1 / w.sum(0))


def test_pooled_columns_are_one_sample():
    log_weight = weights(columns=4)
    running = RunningWeights(4, capacity=20_000)
    running.update(log_weight)
    pooled, flat = running.summary().pooled(), summarize(log_weight.reshape(-1, 1))
    assert pooled.samples == 20_000
    torch.testing.assert_close(pooled.log_mean, flat.log_mean)
    torch.testing.assert_close(pooled.sums, flat.sums)
    assert torch.equal(pooled.tail[:100], flat.tail[:100])


def test_zero_weights_are_counted():
    log_weight = torch.full((4, 2), -math.inf, dtype=torch.float64)
    log_weight[3, 1] = -5.0
    running = RunningWeights(2, capacity=4)
    for row in log_weight:
        running.update(row[None])
    found = running.summary()
    assert found.log_mean.tolist() == [-math.inf, -5.0 - math.log(4)]
    assert found.ess.tolist() == [0.0, 1.0]
    assert found.max_share.tolist() == [1.0, 1.0]


def test_nothing_seen_has_no_summary():
    running = RunningWeights(1, capacity=10)
    running.update(torch.empty(0, 1))
    with pytest.raises(ValueError, match="no weights"):
        running.summary()


def test_memory_does_not_grow_with_the_stream():
    running = RunningWeights(1, capacity=10**7)
    sizes = []
    for step in range(60):
        running.update(torch.randn(4000, 1, generator=generator(step)))
        sizes.append(running._tail.shape[0])
    assert max(sizes) <= 2 * (tail_length(10**7) + 1) + 4000


@given(
    counts=st.lists(st.integers(1, 300), min_size=1, max_size=5, unique=True).map(sorted),
    most=st.integers(1, 70),
)
@settings(max_examples=50, deadline=None)
def test_chunks_end_at_every_checkpoint(counts: list[int], most: int):
    done, reached = 0, []
    for size, is_checkpoint in chunks(counts, most=most):
        assert 1 <= size <= most
        done += size
        if is_checkpoint:
            reached.append(done)
    assert reached == counts
