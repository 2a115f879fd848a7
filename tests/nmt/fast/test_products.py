""""""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch

from dlcli.nmt.fast.products import (
    Int8Product,
    LowProduct,
    NativeSearch,
    int8_is_exact,
    native_search,
)


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


WEIGHT, BIAS = torch.randn(21, 40, generator=torch.Generator().manual_seed(0)), torch.randn(21)


@pytest.fixture
def products_compiled() -> NativeSearch:
    found = native_search(torch.zeros(1))
    if found is None or not int8_is_exact():
        pytest.skip("this machine has no C++ compiler or no VNNI instructions")
    return found


ASKED = """
import torch
from dlcli.nmt.fast.products import int8_is_exact

signs = torch.randint(2, (9 + 40, 512), generator=torch.Generator().manual_seed(0)) * 2 - 1
signs[0] = signs[9] = 1  # the largest sum that there can be
rows, weight = (127 * signs).to(torch.int8).split([9, 40])
found = torch._int_mm(rows, weight.t().contiguous())
print(int8_is_exact(), torch.equal(found.long(), rows.long() @ weight.t().long()))
"""


@pytest.mark.parametrize("newest", ["DEFAULT", "AVX2"])
def test_a_processor_that_cuts_sums_off_is_found_out(newest: str) -> None:
    """Without VNNI, as up to AVX2, pairs of products are added in 16 bits, which are too few."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": newest},
        capture_output=True,
        text=True,
        check=True,
    )
    claimed, exact = done.stdout.split()
    assert claimed == exact


@pytest.mark.parametrize("bias", [BIAS, None])
def test_a_low_product_is_torch_s(bias: torch.Tensor | None) -> None:
    rows = torch.randn(5, 40)
    wanted = torch.nn.functional.linear(rows, WEIGHT, bias)
    torch.testing.assert_close(LowProduct(WEIGHT, bias, low=torch.float32)(rows), wanted)
    low = LowProduct(WEIGHT, bias, low=torch.bfloat16)(rows.bfloat16())
    torch.testing.assert_close(low, wanted.bfloat16(), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("bias", [BIAS, None])
def test_eight_bits_are_right_to_a_percent(
    bias: torch.Tensor | None, products_compiled: NativeSearch
) -> None:
    rows = torch.randn(50, 40) * torch.logspace(-3, 3, 50)[:, None]
    product = Int8Product(
        WEIGHT * torch.logspace(-2, 2, 21)[:, None], bias, operations=products_compiled
    )
    wanted = rows @ (WEIGHT * torch.logspace(-2, 2, 21)[:, None]).t()
    found = product(rows) - (0 if bias is None else bias)
    scale = rows.norm(dim=1)[:, None] * (WEIGHT.norm(dim=1) * torch.logspace(-2, 2, 21))
    assert ((found - wanted).abs() / scale).max() < 0.01


def test_a_row_does_not_depend_on_its_neighbours(products_compiled: NativeSearch) -> None:
    product, rows = Int8Product(WEIGHT, BIAS, operations=products_compiled), torch.randn(9, 40)
    whole = product(rows)
    for count in (1, 2, 5):
        assert torch.equal(product(rows[:count]), whole[:count])


def test_rows_may_be_cut_before_they_are_scaled(products_compiled: NativeSearch) -> None:
    scaled = Int8Product(WEIGHT, BIAS, operations=products_compiled).scaled(torch.randn(6, 40))
    assert scaled.shape == (6, 21)
    assert torch.equal(scaled[:2].whole(), scaled.whole()[:2])
    values, tokens = scaled.best(2, never=())
    assert torch.equal(tokens, scaled.whole().topk(2, dim=1).indices)
    assert torch.equal(values[:1], scaled[:1].best(2, never=())[0])


def test_a_weight_of_zeros_and_one_that_is_no_number(products_compiled: NativeSearch) -> None:
    weight = torch.zeros(2, 40)
    weight[1, 3] = torch.nan
    found = Int8Product(weight, None, operations=products_compiled)(torch.ones(1, 40))
    assert found[0, 0] == 0
    assert found[0, 1].isnan()
