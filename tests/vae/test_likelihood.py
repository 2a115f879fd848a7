"""Likelihoods of pixels against torch.distributions, their own bins and theorems."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, ContinuousBernoulli

from dlcli.engine.seed import generator
from dlcli.vae.bounds import LikelihoodDecoder
from dlcli.vae.likelihood import likelihood_named

BERNOULLI = likelihood_named("bernoulli", channels=1)
CONTINUOUS = likelihood_named("continuous-bernoulli", channels=1)


LOGITS = torch.tensor(
    [-30.0, -5.0, -1.0, -0.11, -0.09, -1e-3, -1e-7, 0.0, 1e-5, 0.0999, 0.1001, 0.7, 3.0, 25.0],
    dtype=torch.float64,
)


def log_density(logits: torch.Tensor, *, x: torch.Tensor | float = 0.5) -> torch.Tensor:
    """Log density of one pixel, at points (P,) for logits (L,): (P, L), or (L,) at one point."""
    points = torch.as_tensor(x, dtype=logits.dtype)[..., None, None]
    return CONTINUOUS.log_prob(logits[:, None], points)


def test_the_density_integrates_to_one() -> None:
    x = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    total = torch.trapezoid(log_density(LOGITS, x=x).exp(), x, dim=0)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6)


def test_float32_keeps_its_accuracy_around_one_half() -> None:
    logits = torch.linspace(-0.3, 0.3, 6001)
    truth = log_density(logits.double())
    assert (log_density(logits).double() - truth).abs().max() < 3e-7
    assert log_density(torch.zeros(1)).item() == pytest.approx(0, abs=1e-7)


def test_gradients_are_finite_and_right_everywhere() -> None:
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(log_density, logits)
    far = torch.tensor([-1e4, 0.0, 1e4], requires_grad=True)
    log_density(far).sum().backward()
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_draws_average_to_the_means(likelihood: str) -> None:
    logits = torch.tensor([-5, -1, -0.11, -0.09, -1e-3, 0, 1e-5, 0.0999, 0.1001, 0.7, 3])
    logits = logits.expand(40_000, -1)
    ours = likelihood_named(likelihood, channels=1)
    drawn = ours.sample(logits, generator=generator(0))
    law = Bernoulli if likelihood == "bernoulli" else ContinuousBernoulli
    means = ours.mean(logits[0].double())
    assert torch.allclose(means, law(logits=logits[0].double()).mean, atol=1e-6)
    error = (drawn.mean(0) - means) / (drawn.std(0) / 200)
    assert error.abs().max() < 4
    assert (set(drawn.unique().tolist()) == {0.0, 1.0}) == (likelihood == "bernoulli")
    assert 0 <= drawn.min() < drawn.max() <= 1
    far = torch.tensor([-1e4, 1e4])
    assert ours.sample(far, generator=generator(1)).isfinite().all()


def logits_and_pixels(*, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, generator=generator, dtype=torch.float64) * scale
    return logits, torch.rand(5, 7, generator=generator, dtype=torch.float64)


def test_the_cross_entropy_is_the_sum_of_log_likelihoods() -> None:
    logits, pixels = logits_and_pixels()
    expected = -BERNOULLI.log_prob(logits, pixels).sum()
    torch.testing.assert_close(BERNOULLI.nll_sum(logits, pixels), expected)
    assert BERNOULLI.nll_sum(logits, pixels.float()).dtype == torch.float64


def test_stays_finite_where_a_sigmoid_would_be_0_or_1() -> None:
    logits = torch.tensor([[-1e4, 1e4, -200.0, 200.0]])
    pixels = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    assert BERNOULLI.nll_sum(logits, pixels).item() == pytest.approx(2e4)


def test_sums_in_float32_from_bfloat16_logits() -> None:
    logits, pixels = logits_and_pixels()
    narrow = logits.bfloat16().repeat(1000, 1).requires_grad_()
    total = BERNOULLI.nll_sum(narrow, pixels.float().repeat(1000, 1))
    exact = BERNOULLI.nll_sum(logits.bfloat16().double(), pixels) * 1000
    total.backward()
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(exact.item(), rel=1e-5)
    assert narrow.grad is not None
    assert narrow.grad.dtype == torch.bfloat16


def test_refuses_shapes_that_would_be_broadcast() -> None:
    with pytest.raises(ValueError, match="differ"):
        BERNOULLI.nll_sum(torch.zeros(3, 1, 4), torch.zeros(3, 4))


def test_log_likelihood_matches_torch_distributions() -> None:
    logits = 3 * torch.randn(5, 784, generator=generator(1), dtype=torch.float64)
    pixels = torch.rand(5, 784, generator=generator(2), dtype=torch.float64)
    black = pixels.round()
    ours = BERNOULLI.log_prob(logits, black)
    assert torch.allclose(ours, Bernoulli(logits=logits).log_prob(black).sum(-1))
    ours = CONTINUOUS.log_prob(logits, pixels)
    reference = ContinuousBernoulli(logits=logits).log_prob(pixels).sum(-1)
    assert torch.allclose(ours, reference, rtol=1e-5)


def test_narrow_logits_are_summed_in_float32() -> None:
    logits = torch.randn(2, 784, generator=generator(1)).bfloat16()
    pixels = torch.rand(2, 784, generator=generator(2))
    for name in ("bernoulli", "continuous-bernoulli", "logistic"):
        ours = likelihood_named(name, channels=1)
        found = ours.log_prob(logits, pixels)
        assert torch.equal(found, ours.log_prob(logits.float(), pixels))
        assert found.dtype == torch.float32


@pytest.mark.parametrize("logit", [-3.0, -1.0, 0.1, 0.9, 4.0])
@pytest.mark.parametrize("log_scale", [-5.5, -3.0, 0.0])
def test_the_logistic_gives_each_level_the_share_of_its_bin(logit: float, log_scale: float) -> None:
    ours = likelihood_named("logistic", channels=1)
    torch.nn.init.constant_(ours.scale, log_scale / ours.PACE)
    log_scale = (ours.PACE * ours.scale.double()).item()
    logits = torch.full((256, 1), logit, dtype=torch.float64)
    levels = torch.arange(256, dtype=torch.float64)[:, None] / 255
    with torch.no_grad():
        found = ours.log_prob(logits, levels)
        mean = ours.mean(logits[:1]).item()
    edges = (levels[1:, 0] - 0.5 / 255 - (1 + logit) / 2) / math.exp(log_scale)
    below = torch.cat([torch.zeros(1), torch.sigmoid(edges), torch.ones(1)])
    torch.testing.assert_close(found.exp(), below.diff(), atol=1e-12, rtol=1e-6)
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-9)
    assert mean == pytest.approx((below.diff() * levels[:, 0]).sum().item(), abs=2e-4)


def test_each_channel_has_a_scale_of_its_own_that_learns() -> None:
    ours = likelihood_named("logistic", channels=3)
    logits = torch.randn(4, 6, generator=generator(0)).requires_grad_()
    pixels = torch.randint(256, (4, 6), generator=generator(1)) / 255
    parts = [
        likelihood_named("logistic", channels=1).log_prob(logits[:, c::3], pixels[:, c::3])
        for c in range(3)
    ]
    torch.testing.assert_close(ours.log_prob(logits, pixels), sum(parts))
    ours.nll_sum(logits, pixels).backward()
    assert (ours.scale.grad != 0).all()
    far = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    ours.log_prob(far, torch.tensor([[1.0, 0.0, 0.5]])).sum().backward()
    assert far.grad.isfinite().all()


def test_draws_of_the_logistic_are_levels_with_its_mean() -> None:
    ours = likelihood_named("logistic", channels=3)
    logits = torch.tensor([-1.2, -0.5, 0.0, 0.3, 0.9, 1.5]).expand(20_000, -1)
    drawn = ours.sample(logits, generator=generator(0))
    assert torch.equal((drawn * 255).round(), drawn * 255)
    assert 0 <= drawn.min() < drawn.max() <= 1
    error = (drawn.mean(0) - ours.mean(logits[:1])[0]) / (drawn.std(0) / math.sqrt(20_000))
    assert error.abs().max() < 5


@pytest.mark.parametrize("likelihood", ["continuous-bernoulli", "logistic"])
def test_images_that_share_latents_are_computed_in_blocks_of_bounded_size(likelihood: str) -> None:
    ours = likelihood_named(likelihood, channels=3)
    weight = torch.randn(2, 6, generator=generator(0))
    decoded: list[int] = []

    def decode(z: torch.Tensor) -> torch.Tensor:
        decoded.append(len(z))
        return z @ weight

    decoder = LikelihoodDecoder(
        decode, latent_dim=2, name="toy", device=torch.device("cpu"), of=ours, rows=10
    )
    x = torch.randint(256, (5, 6), generator=generator(1)) / 255
    z = torch.randn(7, 1, 2, generator=generator(2))
    with torch.no_grad():
        found = decoder.log_likelihood(x, z)
        assert max(decoded) * len(x) <= 10
        torch.testing.assert_close(found, ours.log_prob((z @ weight).expand(7, 5, 6), x))
        own = z.expand(7, 5, 2)
        torch.testing.assert_close(decoder.log_likelihood(x, own), found)
    assert (found <= decoder.ceiling(x)).all()
    assert decoder.draw(z[:, 0], generator=generator(3)).shape == (7, 6)
