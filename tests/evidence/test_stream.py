from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcli.engine.seed import generator
from dlcli.evidence.diagnostics import RunningWeights, chunks, summarize, tail_length


def weights(count: int = 5000, columns: int = 3) -> torch.Tensor:
    return 30 * torch.randn(count, columns, generator=generator(0), dtype=torch.float64) - 900


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


def test_moments_follow_a_maximum_that_rises():
    """Of widely spread weights the largest alone makes up all moments; of these it does not."""
    log_weight = torch.linspace(0, 2, 50, dtype=torch.float64)[:, None]
    running = RunningWeights(1, capacity=50)
    for row in log_weight:
        running.update(row[None])
    w = (log_weight - 2).exp()
    expected = torch.stack([w.sum(0), (w**2).sum(0), (w**3).sum(0)])
    torch.testing.assert_close(running.summary().sums, expected)
