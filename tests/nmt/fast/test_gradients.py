"""Forms with gradients of their own, against differences and torch's own layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.nmt.fast import softmax as module
from dlcli.nmt.fast.kernels import NO_WORD, AttentionMemory
from dlcli.nmt.fast.recurrence import attentive_gru, masked_gru, run_directions
from dlcli.nmt.fast.softmax import softmax_loss
from dlcli.nmt.networks import read_both_ways

T, B, S, E, C, N, A = 3, 2, 4, 3, 5, 7, 3
MASK = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])


def tensors() -> list[Tensor]:
    """Words, first state, keys, values, the query's matrix and v, in float64."""
    torch.manual_seed(0)
    shapes = ((T, B, E), (B, N), (B, S, A), (B, S, C), (A, N), (A,))
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def run(cell: nn.GRUCell, given: list[Tensor], *, updated: bool) -> Any:
    words, initial, keys, values, query, v = given
    source = AttentionMemory(keys=keys, values=values, mask=MASK, v=v)
    return attentive_gru(
        words, initial=initial, source=source, cell=cell, query=query, updated=updated
    )


@pytest.mark.parametrize("updated", [False, True])
def test_the_decoder_s_gradient_is_that_of_its_values(updated: bool) -> None:
    cell, given = nn.GRUCell(E + C, N).double(), tensors()
    names = list(dict(cell.named_parameters()))

    def outputs(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        made = nn.GRUCell(E + C, N).double()
        for name, value in zip(names, arguments[len(given) :], strict=True):
            delattr(made, name)
            setattr(made, name, value)
        hidden, contexts, _ = run(made, list(arguments[: len(given)]), updated=updated)
        return hidden, contexts

    assert torch.autograd.gradcheck(outputs, [*given, *cell.parameters()], atol=1e-6)


def test_with_attention_fixed_a_step_is_torch_s_own_cell() -> None:
    """One source word is all there is to see, so its value is the context of every step."""
    cell, given = nn.GRUCell(E + C, N).double(), tensors()
    words, state, keys, values, query, v = given
    source = AttentionMemory(keys=keys[:, :1], values=values[:, :1], mask=MASK[:, :1], v=v)
    hidden, contexts, attention = attentive_gru(
        words, initial=state, source=source, cell=cell, query=query, updated=True
    )
    for t in range(T):
        state = cell(torch.cat([words[t], values[:, 0]], dim=1), state)
        torch.testing.assert_close(hidden[t], state)
        torch.testing.assert_close(contexts[t], values[:, 0])
    assert bool((attention == 1).all())


def test_the_kinds_of_query_see_the_same_attention_one_step_apart() -> None:
    cell, given = nn.GRUCell(E + C, N).double(), tensors()
    hidden, before, before_weights = run(cell, given, updated=False)
    same, after, after_weights = run(cell, given, updated=True)
    torch.testing.assert_close(hidden, same)
    torch.testing.assert_close(before[1:], after[:-1])
    torch.testing.assert_close(before_weights[1:], after_weights[:-1])
    assert not torch.allclose(before[0], after[0])


def test_the_attention_it_returns_carries_no_gradient() -> None:
    assert not run(nn.GRUCell(E + C, N).double(), tensors(), updated=True)[2].requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_of_both_directions_are_those_of_the_plain_loop(
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(0)
    cells = [nn.GRUCell(3, 7).to(dtype) for _ in range(2)]
    x = torch.randn(3, 5, 3, dtype=dtype, requires_grad=True)
    mask = torch.arange(5) < torch.tensor([5, 2, 4])[:, None]
    states, last = run_directions(x.transpose(0, 1), cells=cells, mask=mask.t())
    expected, expected_last = read_both_ways(x, cells=cells, mask=mask)
    torch.testing.assert_close(states.transpose(0, 1), expected)
    torch.testing.assert_close(last, expected_last)
    parameters = [x, *(p for cell in cells for p in cell.parameters())]
    pull, pull_last = torch.randn_like(expected), torch.randn_like(expected_last)
    ours = (states.transpose(0, 1) * pull).sum() + (last * pull_last).sum()
    theirs = (expected * pull).sum() + (expected_last * pull_last).sum()
    for one, other in zip(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_the_encoder_s_gradient_is_that_of_its_values() -> None:
    torch.manual_seed(0)
    mask = (torch.arange(4)[:, None] < torch.tensor([4, 2, 3]))[:, None].expand(4, 2, 3)
    shapes = ((4, 2, 3, 15), (2, 3, 5), (15, 5), (15, 5), (2, 5))
    tensors = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]

    def states(x: torch.Tensor, h: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        return masked_gru(x, initial=h, mask=mask, weights=rest[:2], bias_n=rest[2])

    assert torch.autograd.gradcheck(states, tensors)


# The softmax and its loss in one, against torch's own


def inputs(dtype: torch.dtype, *, words: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    made = [torch.randn(size, dtype=dtype) for size in ((words, 3), (11, 3), (11,))]
    return (*[x.requires_grad_() for x in made], torch.randint(11, (words,)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("block_bytes", [1, 2**25])
def test_value_and_gradients_are_those_of_torch(
    dtype: torch.dtype, smoothing: float, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Block by block or in one, float64 in plain operations or float32 in compiled ones."""
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(module, "ROWS", 2)
    monkeypatch.setattr("dlcli.nmt.fast.kernels.ROWS", 2)
    features, weight, bias, targets = inputs(dtype)
    loss, nll = softmax_loss(
        features, weight=weight, bias=bias, targets=targets, label_smoothing=smoothing
    )
    logits = F.linear(features, weight, bias)
    theirs = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loss, theirs)
    torch.testing.assert_close(nll, F.cross_entropy(logits, targets, reduction="sum"))
    for ours, expected in zip(
        torch.autograd.grad(0.3 * loss, [features, weight, bias]),
        torch.autograd.grad(0.3 * theirs, [features, weight, bias]),
        strict=True,
    ):
        torch.testing.assert_close(ours, expected)


def test_under_autocast_products_are_rounded_and_sums_are_not() -> None:
    features, weight, bias, targets = inputs(torch.float32, words=2000)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = softmax_loss(features, weight=weight, bias=bias, targets=targets)
    exact = F.cross_entropy(F.linear(features, weight, bias), targets, reduction="sum")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=2e-3)
    ours = torch.autograd.grad(loss, [weight, bias])
    theirs = torch.autograd.grad(exact, [weight, bias])
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()


def test_no_words_cost_nothing_and_have_no_gradient() -> None:
    features, weight, bias, targets = inputs(torch.float32, words=0)
    loss, nll = softmax_loss(features, weight=weight, bias=bias, targets=targets)
    loss.backward()
    assert loss.item() == nll.item() == 0
    assert weight.grad is not None
    assert bias.grad is not None
    assert not weight.grad.any()
    assert not bias.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_fill_up_count_for_nothing(dtype: torch.dtype) -> None:
    features, weight, bias, targets = inputs(dtype)
    given = {"weight": weight, "bias": bias, "label_smoothing": 0.1}
    few = softmax_loss(features[:5], targets=targets[:5], **given)[0]
    filled = torch.cat([targets[:5], torch.full((2,), NO_WORD)])
    whole, nll = softmax_loss(features, targets=filled, **given)
    torch.testing.assert_close(whole, few)
    assert nll > 0
    for one, other in zip(
        torch.autograd.grad(whole, [features, weight, bias]),
        torch.autograd.grad(few, [features, weight, bias]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_network_that_is_only_measured_keeps_no_gradients() -> None:
    features, weight, bias, targets = inputs(torch.float32)
    with torch.no_grad():
        loss, nll = softmax_loss(features, weight=weight, bias=bias, targets=targets)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, nll)
