from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.diagnostics import (
    MARKOV_NATS,
    Z,
    log_interval,
    relative_moments,
    student_quantile,
)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(2, 4.302653), (2.5, 3.574655), (3, 3.182446), (5, 2.570582), (15, 2.131450), (1e6, 1.959966)],
)
def test_student_quantiles(degrees: float, expected: float):
    assert abs(student_quantile(degrees) / expected - 1) < 5e-4


def test_moments_of_equal_weights_are_zero():
    assert relative_moments(7, (7.0, 7.0, 7.0)) == (0.0, 0.0)
    assert relative_moments(1, (1.0, 1.0, 1.0))[0] == math.inf


def test_moments_agree_with_the_plain_formulas():
    w = torch.rand(50, generator=generator(0), dtype=torch.float64) ** 3
    error, skewness = relative_moments(50, tuple(float((w**k).sum()) for k in (1, 2, 3)))
    assert abs(error - float(w.std() / w.mean()) / math.sqrt(50)) < 1e-12
    third = float(((w - w.mean()) ** 3).mean() / w.var(unbiased=False) ** 1.5)
    assert abs(skewness - third / math.sqrt(50)) < 1e-12


def test_small_errors_give_the_delta_methods_interval():
    found = log_interval(1e-4, 0.0, degrees=1e9)
    assert abs(found.std_error - 1e-4) < 1e-7
    assert abs(found.low + Z * 1e-4) < 1e-7
    assert abs(found.high - Z * 1e-4) < 1e-7
    assert log_interval(0.0, 0.0, degrees=5).high == 0.0


def test_skewed_weights_reach_further_up_than_down():
    plain, skewed = (log_interval(0.1, s, degrees=1e9) for s in (0.0, 0.3))
    assert skewed.high > plain.high
    assert skewed.low > plain.low


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
    assert abs(few.high / many.high - student_quantile(4) / Z) < 2e-3
    assert few.std_error > 1.3 * many.std_error
