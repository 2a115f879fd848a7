"""The softmax and its loss in one, against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.nmt.fast import softmax as module
from dlcli.nmt.fast.kernels import NO_WORD
from dlcli.nmt.fast.softmax import softmax_loss


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
