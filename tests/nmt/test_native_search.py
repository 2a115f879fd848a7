from __future__ import annotations

import math

import pytest
import torch

from dlcli.nmt.fast.products import NativeSearch, native_search


@pytest.fixture
def compiled() -> NativeSearch:
    found = native_search(torch.zeros(1))
    if found is None:
        pytest.skip("this machine has no C++ compiler")
    return found


@pytest.mark.parametrize("low", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [9, 64, 601, 64 * 40 + 7])
@pytest.mark.parametrize("most", [1, 2, 7])
def test_the_best_tokens_are_those_of_a_sorted_row(
    low: torch.dtype, vocabulary: int, most: int, compiled: NativeSearch
) -> None:
    draws = torch.Generator().manual_seed(most)
    logits = (5 * torch.randn(6, vocabulary, generator=draws)).to(low)
    logits[0, -1] = logits[1, 0] = logits[2, 2] = 30.0
    values, tokens = compiled.best_tokens(logits, most=most, never=(0, 2))
    log_probs = logits.float().log_softmax(1)
    log_probs[:, [0, 2]] = -math.inf
    torch.testing.assert_close(values, log_probs.topk(most, dim=1).values)
    torch.testing.assert_close(log_probs.gather(1, tokens), values)
    assert all(len(set(row)) == most for row in tokens.tolist())


def test_of_equals_the_first_is_taken(compiled: NativeSearch) -> None:
    values, tokens = compiled.best_tokens(torch.zeros(1, 300), most=4, never=(0, 2))
    assert tokens.tolist() == [[1, 3, 4, 5]]
    torch.testing.assert_close(values.exp(), torch.full((1, 4), 1 / 300))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_stays_none(bad: float, compiled: NativeSearch) -> None:
    logits = torch.zeros(2, 200)
    logits[1, 77] = bad
    values, tokens = compiled.best_tokens(logits, most=3, never=(0, 2))
    assert values[0].isfinite().all()
    assert values[1].isnan().all()
    assert ((tokens >= 0) & (tokens < 200)).all()


def test_integers_stand_for_their_rows(compiled: NativeSearch) -> None:
    rows = torch.randn(5, 33) * torch.tensor([1e-6, 1e-2, 1.0, 1e3, 0.0])[:, None]
    integers, scales = compiled.quantise(rows)
    assert integers.dtype == torch.int8
    assert integers[:4].abs().amax(1).tolist() == [127] * 4
    assert (integers[4] == 0).all()
    error = (integers * scales[:, None] - rows).abs()
    assert (error <= scales[:, None] * 0.5001).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_with_no_number_has_no_scale(bad: float, compiled: NativeSearch) -> None:
    rows = torch.ones(2, 40)
    rows[1, 3] = bad
    _, scales = compiled.quantise(rows)
    assert scales[0].isfinite()
    assert scales[1].isnan()


def test_scaled_products_are_searched_as_what_they_stand_for(compiled: NativeSearch) -> None:
    products = torch.randint(-9999, 9999, (4, 130), dtype=torch.int32)
    scales = {"rows": torch.rand(4), "columns": torch.rand(130) / 999, "bias": torch.randn(130)}
    whole = compiled.rescale(products, **scales)
    wanted = products * scales["rows"][:, None] * scales["columns"] + scales["bias"]
    torch.testing.assert_close(whole, wanted)
    found = compiled.best_scaled(products, **scales, most=3, never=(1,))
    for one, other in zip(found, compiled.best_tokens(whole, most=3, never=(1,)), strict=True):
        torch.testing.assert_close(one, other)


def test_it_is_for_the_cpu_only() -> None:
    assert native_search(torch.zeros(1, device="meta")) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_it_is_for_float32_and_bfloat16_only(dtype: torch.dtype) -> None:
    assert native_search(torch.zeros(1, dtype=dtype)) is None
