""""""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlcli.nmt.fast.directions import masked_gru, run_directions
from dlcli.nmt.gru import run_gru

LENGTHS = torch.tensor([5, 2, 4])


def cells(count: int, dtype: torch.dtype) -> list[nn.GRUCell]:
    torch.manual_seed(0)
    return [nn.GRUCell(3, 7).to(dtype) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_the_plain_loop(count: int, dtype: torch.dtype) -> None:
    both = cells(count, dtype)
    x = torch.randn(3, 5, 3, dtype=dtype, requires_grad=True)
    mask = torch.arange(5) < LENGTHS[:, None]
    states, last = run_directions(x.transpose(0, 1), cells=both, mask=mask.t())
    plain = [run_gru(c, x, mask=mask, backward=bool(i)) for i, c in enumerate(both)]
    expected = torch.cat([one for one, _ in plain], dim=2)
    expected_last = torch.cat([end for _, end in plain], dim=1)
    torch.testing.assert_close(states.transpose(0, 1), expected)
    torch.testing.assert_close(last, expected_last)
    parameters = [x, *(p for cell in both for p in cell.parameters())]
    pull, pull_last = torch.randn_like(expected), torch.randn_like(expected_last)
    ours = (states.transpose(0, 1) * pull).sum() + (last * pull_last).sum()
    theirs = (expected * pull).sum() + (expected_last * pull_last).sum()
    for one, other in zip(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_its_gradient_is_that_of_its_values() -> None:
    torch.manual_seed(0)
    mask = (torch.arange(4)[:, None] < torch.tensor([4, 2, 3]))[:, None].expand(4, 2, 3)
    shapes = ((4, 2, 3, 15), (2, 3, 5), (15, 5), (15, 5), (2, 5))
    tensors = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]

    def states(x: torch.Tensor, h: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        return masked_gru(x, initial=h, mask=mask, weights=rest[:2], bias_n=rest[2])

    assert torch.autograd.gradcheck(states, tensors)
