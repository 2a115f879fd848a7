"""Compiled operations against the same in PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dlcli.nmt.fast.compiling import Library
from dlcli.nmt.fast.kernels import (
    NO_WORD,
    AttentionMemory,
    CompiledElementwise,
    Elementwise,
    choose_elementwise,
    fold_biases,
    native,
    product_dtype,
)

B, S, A, C, N = 6, 5, 19, 21, 37


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def low(request: pytest.FixtureRequest) -> torch.dtype:
    torch.manual_seed(0)
    made: torch.dtype = request.param
    return made


@pytest.fixture
def both(low: torch.dtype, library: Library) -> tuple[Elementwise, CompiledElementwise]:
    """The plain operations and the compiled ones."""
    found = native(torch.zeros(1), low=low)
    assert found is not None
    return Elementwise(), found


def close(one: Tensor, other: Tensor) -> None:
    """Compare; what is stored in bfloat16 may round the other way."""
    rough = one.dtype == torch.bfloat16
    torch.testing.assert_close(one, other, rtol=1e-2 if rough else 1e-5, atol=2e-6)


def test_compiled_attention_is_the_plain_one(
    low: torch.dtype, both: tuple[Elementwise, ...]
) -> None:
    query = torch.randn(B, 3 * A, dtype=low)[:, A : 2 * A]  # a slice, as in the recurrence
    keys, v, values = torch.randn(B, S, A), torch.randn(A), torch.randn(B, S, C)
    mask = torch.arange(S) < torch.tensor([5, 1, 3, 4, 2, 5])[:, None]
    found: list[list[Tensor]] = []
    grad = torch.randn(B, C)
    for steps in both:
        source = AttentionMemory(keys=steps.prepare_keys(keys), v=v, values=values, mask=mask)
        weights, context = torch.full((B, S), 9.0), torch.full((B, C), 9.0)
        wide = torch.zeros(B, 2 * C, dtype=low)
        steps.attend(query, source, weights=weights, context=context, context_low=wide[:, C:])
        keys_sum, v_rows = torch.ones(B, S, A), torch.ones(B, A)
        query_grad = torch.zeros(B, 2 * A, dtype=low)
        steps.attend_backward(
            query,
            source,
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


@pytest.mark.parametrize("masked", [False, True])
def test_compiled_gates_are_the_plain_ones(
    masked: bool, low: torch.dtype, both: tuple[Elementwise, ...]
) -> None:
    x, c = torch.randn(B, 3 * N).to(low), torch.randn(B, 3 * N).to(low)
    state = torch.randn(B, 4 * N).to(low)[:, : 3 * N]
    bias, hidden, grad = torch.randn(2, N), torch.randn(B, N), torch.randn(B, N)
    mask = torch.tensor([True, False, True, True, False, True]) if masked else None
    found: list[list[Tensor]] = []
    for steps in both:
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
        steps.gates_backward(flowing, gates=gates, hidden=hidden, mask=mask, out=wide[:, : 4 * N])
        found.append([gates, out, out_low, flowing, wide])
    for plain, ours in zip(*found, strict=True):
        close(ours, plain)
    if mask is not None:
        torch.testing.assert_close(found[1][1][~mask], hidden[~mask])


def test_the_compiled_softmax_is_the_plain_one(
    low: torch.dtype, both: tuple[Elementwise, ...]
) -> None:
    logits, targets = (5 * torch.randn(7, 601)).to(low), torch.randint(601, (7,))
    targets[3] = NO_WORD
    found: list[list[Tensor]] = []
    for steps in both:
        grads, columns = logits.clone(), torch.ones(601)
        sums = steps.softmax_grads(grads, targets=targets, smoothing=0.1)
        steps.add_columns(grads, columns)
        found.append([sums, grads, columns])
    for plain, ours in zip(*found, strict=True):
        torch.testing.assert_close(
            ours, plain, rtol=1e-5 if low == torch.float32 else 1e-2, atol=1e-6
        )


def test_other_precisions_and_devices_take_the_plain_operations() -> None:
    for like, low in (
        (torch.zeros(1).double(), torch.float64),
        (torch.zeros(1, device="meta"), torch.float32),
    ):
        assert native(like, low=low) is None
        assert type(choose_elementwise(like, low=low)) is Elementwise


def test_folded_biases_leave_apart_what_the_reset_gate_scales() -> None:
    b, c = torch.randn(2, 3 * 7)
    folded, apart = fold_biases(b, c)
    assert torch.equal(folded, torch.cat([b[:14] + c[:14], b[14:]]))
    assert torch.equal(apart, c[14:])


def test_autocast_lowers_float32_alone() -> None:
    single, double = torch.zeros(1), torch.zeros(1).double()
    assert product_dtype(single) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert product_dtype(single) == torch.bfloat16
        assert product_dtype(double) == torch.float64
