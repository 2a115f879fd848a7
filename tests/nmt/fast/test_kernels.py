""""""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dlcli.nmt.fast.kernels import NativeElementwise, PlainElementwise, choose_elementwise, native
from dlcli.nmt.fast.recurrence import turn_to_grads

B, S, A, C, N = 6, 5, 19, 21, 37
LOWS = [torch.float32, torch.bfloat16]


def compiled(low: torch.dtype) -> NativeElementwise:
    found = native(torch.zeros(1), low=low)
    if found is None:
        pytest.skip("this machine has no C++ compiler")
    return found


def close(one: Tensor, other: Tensor) -> None:
    """Compare; what is stored in bfloat16 may round the other way."""
    rough = one.dtype == torch.bfloat16
    torch.testing.assert_close(one, other, rtol=1e-2 if rough else 1e-5, atol=2e-6)


@pytest.mark.parametrize("low", LOWS)
def test_compiled_attention_is_the_plain_one(low: torch.dtype) -> None:
    torch.manual_seed(0)
    query = torch.randn(B, 3 * A, dtype=low)[:, A : 2 * A]  # a slice, as in the recurrence
    keys, v, values = torch.randn(B, S, A), torch.randn(A), torch.randn(B, S, C)
    mask = torch.arange(S) < torch.tensor([5, 1, 3, 4, 2, 5])[:, None]
    found: list[list[Tensor]] = []
    grad = torch.randn(B, C)
    for steps in (PlainElementwise(), compiled(low)):
        given = {"keys": steps.bend(keys), "v": v, "values": values}
        weights, context = torch.full((B, S), 9.0), torch.full((B, C), 9.0)
        wide = torch.zeros(B, 2 * C, dtype=low)
        steps.attend(
            query, **given, mask=mask, weights=weights, context=context, context_low=wide[:, C:]
        )
        keys_sum, v_rows = torch.ones(B, S, A), torch.ones(B, A)
        query_grad = torch.zeros(B, 2 * A, dtype=low)
        steps.attend_backward(
            query,
            **given,
            weights=weights,
            context_grad=grad,
            query_grad=query_grad[:, A:],
            keys_sum=keys_sum,
            v_rows=v_rows,
        )
        found.append([weights, context, wide, keys_sum, v_rows, query_grad])
    for plain, ours in zip(*found, strict=True):
        close(ours, plain)
    assert not found[1][0][~mask].any()


@pytest.mark.parametrize("low", LOWS)
@pytest.mark.parametrize("masked", [False, True])
def test_compiled_gates_are_the_plain_ones(low: torch.dtype, masked: bool) -> None:
    torch.manual_seed(0)
    x, c = torch.randn(B, 3 * N).to(low), torch.randn(B, 3 * N).to(low)
    state = torch.randn(B, 4 * N).to(low)[:, : 3 * N]
    bias, hidden, grad = torch.randn(2, N), torch.randn(B, N), torch.randn(B, N)
    mask = torch.tensor([True, False, True, True, False, True]) if masked else None
    found: list[list[Tensor]] = []
    for steps in (PlainElementwise(), compiled(low)):
        gates, out, flowing = torch.zeros(B, 4 * N), torch.zeros(B, N), grad.clone()
        out_low = out if low == out.dtype else torch.zeros(B, N, dtype=low)
        steps.gates(
            x,
            contexts=None if masked else c,
            state=state,
            bias_n=bias,
            hidden=hidden,
            mask=mask,
            gates=gates,
            out=out,
            out_low=out_low,
        )
        wide = torch.zeros(B, 5 * N, dtype=low)
        steps.gates_backward(
            flowing, gates=gates, hidden=hidden, mask=mask, gates_grad=wide[:, : 4 * N]
        )
        found.append([gates, out, out_low, flowing, wide])
    for plain, ours in zip(*found, strict=True):
        close(ours, plain)
    if mask is not None:
        torch.testing.assert_close(found[1][1][~mask], hidden[~mask])


def test_other_precisions_take_the_plain_operations() -> None:
    double = choose_elementwise(torch.zeros(1).double(), low=torch.float64)
    assert isinstance(double, PlainElementwise)


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
