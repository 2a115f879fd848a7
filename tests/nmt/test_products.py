from __future__ import annotations

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

WEIGHT, BIAS = torch.randn(21, 40, generator=torch.Generator().manual_seed(0)), torch.randn(21)


@pytest.fixture
def compiled() -> NativeSearch:
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
    bias: torch.Tensor | None, compiled: NativeSearch
) -> None:
    rows = torch.randn(50, 40) * torch.logspace(-3, 3, 50)[:, None]
    product = Int8Product(WEIGHT * torch.logspace(-2, 2, 21)[:, None], bias, operations=compiled)
    wanted = rows @ (WEIGHT * torch.logspace(-2, 2, 21)[:, None]).t()
    found = product(rows) - (0 if bias is None else bias)
    scale = rows.norm(dim=1)[:, None] * (WEIGHT.norm(dim=1) * torch.logspace(-2, 2, 21))
    assert ((found - wanted).abs() / scale).max() < 0.01


def test_a_row_does_not_depend_on_its_neighbours(compiled: NativeSearch) -> None:
    product, rows = Int8Product(WEIGHT, BIAS, operations=compiled), torch.randn(9, 40)
    whole = product(rows)
    for count in (1, 2, 5):
        assert torch.equal(product(rows[:count]), whole[:count])


def test_rows_may_be_cut_before_they_are_scaled(compiled: NativeSearch) -> None:
    scaled = Int8Product(WEIGHT, BIAS, operations=compiled).scaled(torch.randn(6, 40))
    assert scaled.shape == (6, 21)
    assert torch.equal(scaled[:2].whole(), scaled.whole()[:2])
    values, tokens = scaled.best(2, never=())
    assert torch.equal(tokens, scaled.whole().topk(2, dim=1).indices)
    assert torch.equal(values[:1], scaled[:1].best(2, never=())[0])


def test_a_weight_of_zeros_and_one_that_is_no_number(compiled: NativeSearch) -> None:
    weight = torch.zeros(2, 40)
    weight[1, 3] = torch.nan
    found = Int8Product(weight, None, operations=compiled)(torch.ones(1, 40))
    assert found[0, 0] == 0
    assert found[0, 1].isnan()
