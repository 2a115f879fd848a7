from __future__ import annotations

import torch

from dlcli.nmt.gru import product_dtype


def test_autocast_lowers_float32_alone() -> None:
    single, double = torch.zeros(1), torch.zeros(1).double()
    assert product_dtype(single) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert product_dtype(single) == torch.bfloat16
        assert product_dtype(double) == torch.float64
