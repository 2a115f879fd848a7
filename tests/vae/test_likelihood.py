"""The cross-entropy of pixels against its definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli

from dlcli.vae.objective import bernoulli_nll_sum


def logits_and_pixels(*, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, generator=generator, dtype=torch.float64) * scale
    return logits, torch.rand(5, 7, generator=generator, dtype=torch.float64)


def test_is_the_bernoulli_likelihood_of_black_and_white_pixels() -> None:
    logits, pixels = logits_and_pixels()
    black_or_white = (pixels > 0.5).double()
    expected = -Bernoulli(logits=logits).log_prob(black_or_white).sum()
    torch.testing.assert_close(bernoulli_nll_sum(logits, black_or_white), expected)


def test_is_softplus_minus_the_product_for_grey_pixels() -> None:
    logits, pixels = logits_and_pixels()
    expected = (F.softplus(logits) - pixels * logits).sum()
    torch.testing.assert_close(bernoulli_nll_sum(logits, pixels), expected)


def test_gradient_is_the_mean_pixel_minus_the_pixel() -> None:
    logits, pixels = logits_and_pixels()
    logits.requires_grad_()
    bernoulli_nll_sum(logits, pixels).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.sigmoid(logits.detach()) - pixels)


def test_stays_finite_where_a_sigmoid_would_be_0_or_1() -> None:
    logits = torch.tensor([[-1e4, 1e4, -200.0, 200.0]])
    pixels = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    assert bernoulli_nll_sum(logits, pixels).item() == pytest.approx(2e4)


def test_sums_in_float32_from_bfloat16_logits() -> None:
    logits, pixels = logits_and_pixels()
    narrow = logits.bfloat16().repeat(1000, 1).requires_grad_()
    total = bernoulli_nll_sum(narrow, pixels.float().repeat(1000, 1))
    exact = bernoulli_nll_sum(logits.bfloat16().double(), pixels) * 1000
    total.backward()
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(exact.item(), rel=1e-5)
    assert narrow.grad is not None
    assert narrow.grad.dtype == torch.bfloat16


def test_takes_pixels_in_float32_with_logits_in_float64() -> None:
    logits, pixels = logits_and_pixels()
    assert bernoulli_nll_sum(logits, pixels.float()).dtype == torch.float64


def test_refuses_shapes_that_would_be_broadcast() -> None:
    with pytest.raises(ValueError, match="differ"):
        bernoulli_nll_sum(torch.zeros(3, 1, 4), torch.zeros(3, 4))
