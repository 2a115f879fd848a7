from __future__ import annotations

import pytest
import torch

from dlcli.nmt.fast.kernels import native
from dlcli.nmt.fast.recurrence import turn_to_grads


@pytest.mark.parametrize("low", [torch.float32, torch.bfloat16])
def test_the_compiled_softmax_is_the_plain_one(low: torch.dtype) -> None:
    torch.manual_seed(0)
    compiled = native(torch.zeros(1), low=low)
    if compiled is None:
        pytest.skip("this machine has no C++ compiler")
    logits, targets = (5 * torch.randn(7, 601)).to(low), torch.randint(601, (7,))
    plain, ours = logits.clone(), logits.clone()
    sums = compiled.softmax_grads(ours, targets=targets, smoothing=0.1)
    torch.testing.assert_close(sums, turn_to_grads(plain, targets=targets, smoothing=0.1))
    torch.testing.assert_close(ours, plain, rtol=1e-2 if low != torch.float32 else 1e-5, atol=1e-7)
    columns = torch.ones(601)
    compiled.add_columns(ours, columns)
    torch.testing.assert_close(columns, 1 + ours.sum(0, dtype=torch.float32))


def test_other_tensors_are_not_for_it() -> None:
    assert native(torch.zeros(1).double(), low=torch.float64) is None
    assert native(torch.zeros(1, device="meta"), low=torch.float32) is None
