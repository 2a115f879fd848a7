""""""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlcli.nmt.gru import fold_biases, gru_step, product_dtype, run_gru


def test_a_step_equals_torch_s_own_cell() -> None:
    torch.manual_seed(0)
    cell = nn.GRUCell(5, 7).double()
    x, h = torch.randn(3, 5).double(), torch.randn(3, 7).double()
    ours = gru_step(cell, F.linear(x, cell.weight_ih, cell.bias_ih), hidden=h)
    torch.testing.assert_close(ours, cell(x, h))


def test_folded_biases_leave_apart_what_the_reset_gate_scales() -> None:
    b, c = torch.randn(2, 3 * 7)
    folded, apart = fold_biases(b, c)
    assert torch.equal(folded, torch.cat([b[:14] + c[:14], b[14:]]))
    assert torch.equal(apart, c[14:])


@pytest.mark.parametrize("backward", [False, True])
def test_padding_leaves_the_state_as_it_is(backward: bool) -> None:
    torch.manual_seed(0)
    cell = nn.GRUCell(3, 5).double()
    x = torch.randn(1, 4, 3).double()
    padded = torch.cat([x, torch.full((1, 3, 3), 9.0).double()], dim=1)
    mask = torch.tensor([[True] * 4 + [False] * 3])
    short, short_end = run_gru(cell, x, mask=mask[:, :4], backward=backward)
    long, long_end = run_gru(cell, padded, mask=mask, backward=backward)
    torch.testing.assert_close(long[:, :4], short)
    torch.testing.assert_close(long_end, short_end)
    assert not long[:, 4:].any()


def test_autocast_lowers_float32_alone() -> None:
    single, double = torch.zeros(1), torch.zeros(1).double()
    assert product_dtype(single) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert product_dtype(single) == torch.bfloat16
        assert product_dtype(double) == torch.float64
