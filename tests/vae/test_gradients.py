"""Both estimators point where a finite difference of the expected loss does; one scatters less."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.vae.gradients import GradientComparison, compare_gradient_estimators
from dlcli.vae.images import flat, grey
from dlcli.vae.networks import VAE
from dlcli.vae.objective import log_likelihood
from tests.vae.conftest import MakeVae


def expected_cost(vae: VAE, pixels: Tensor, eps: Tensor) -> Tensor:
    """Mean over noise (S, B, D) and images of −log p(x|z), by the encoder's own samples."""
    mean, logvar = vae.encode(pixels)
    z = mean + (0.5 * logvar).exp() * eps
    logits = vae.decode(z.flatten(0, 1)).view(*eps.shape[:2], -1)
    return -log_likelihood(logits, pixels).mean()


def test_the_pathwise_gradient_is_the_finite_difference_of_the_expected_loss(
    make_vae: MakeVae, images: Tensor
) -> None:
    """Common random numbers, float64, along random directions in the encoder's weights."""
    vae = make_vae(latent_dim=2, hidden=5).double()
    pixels = grey(flat(images[:3])).double()
    eps = torch.randn(50, 3, 2, generator=generator(0), dtype=torch.float64)
    weights = [*vae.encoder.parameters(), *vae.posterior.parameters()]
    gradients = torch.autograd.grad(expected_cost(vae, pixels, eps), weights)
    for seed in range(3):
        stream = generator(seed, "direction")
        along = [torch.randn(w.shape, generator=stream, dtype=w.dtype) for w in weights]
        slope = sum((g * a).sum() for g, a in zip(gradients, along, strict=True))
        h = 1e-6
        costs = []
        for sign in (1, -2):  # to +h, then on to −h
            with torch.no_grad():
                for w, a in zip(weights, along, strict=True):
                    w += sign * h * a
            costs.append(expected_cost(vae, pixels, eps).item())
        with torch.no_grad():
            for w, a in zip(weights, along, strict=True):
                w += h * a
        assert (costs[0] - costs[1]) / (2 * h) == pytest.approx(float(slope), rel=1e-5)


def test_the_score_function_gradient_is_the_derivative_of_the_same_expectation() -> None:
    """With f(z) = z² and q = N(μ, σ²): E f = μ² + σ², so ∂/∂μ = 2μ and ∂/∂log σ² = σ²."""

    class Square(torch.nn.Module):
        latent_dim, skip = 1, False

        def __init__(self) -> None:
            super().__init__()
            self.mean = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
            self.logvar = torch.nn.Parameter(torch.tensor(-2.0, dtype=torch.float64))

        def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.mean.expand(len(x), 1), self.logvar.expand(len(x), 1)

        def decode_encoded(self, z: Tensor) -> Tensor:
            """With black pixels −log p(x|z) = Σ softplus(l): choose l so that it is z²."""
            share = z.square() / 784 + 1e-9
            return torch.log(torch.expm1(share)).expand(-1, 784)

    model: VAE = Square()  # type: ignore[assignment]
    black = torch.zeros(1, 28, 28, dtype=torch.uint8)
    found = compare_gradient_estimators(model, black, samples=1_000, generator=generator(0))
    truth = math.hypot(2 * 0.7, math.exp(-2.0))
    for scatter in (found.parameters.pathwise, found.parameters.score_baseline):
        error = 4 * math.sqrt(scatter.variance / found.samples)
        assert scatter.mean_norm == pytest.approx(truth, abs=error)
    # Pathwise: 2z with respect to μ and zσε with respect to log σ²; both variances are elementary.
    mean, var = 0.7, math.exp(-2.0)
    exact = 4 * var + mean**2 * var + 2 * var**2
    pathwise = found.parameters.pathwise
    assert pathwise.variance == pytest.approx(exact, abs=4 * pathwise.std_error)


@pytest.fixture
def comparison(make_vae: MakeVae, images: Tensor) -> GradientComparison:
    vae = make_vae(latent_dim=2, hidden=5)
    return compare_gradient_estimators(vae, images[:3], samples=400, generator=generator(1))


def test_the_estimators_agree_and_reparametrisation_scatters_less(
    comparison: GradientComparison,
) -> None:
    for target in (comparison.outputs, comparison.parameters):
        assert target.against_score.agrees
        assert target.against_baseline.agrees
        assert target.against_score.ratio > target.against_baseline.ratio > 1
        for contrast in (target.against_score, target.against_baseline):
            low, high = contrast.ratio_ci95
            assert low < contrast.ratio < high
    assert comparison.outputs.coordinates == 3 * 2 * 2
    assert comparison.parameters.coordinates == 784 * 5 + 5 + 5 * 4 + 4


def test_the_comparison_is_reproducible(
    make_vae: MakeVae, images: Tensor, comparison: GradientComparison
) -> None:
    vae = make_vae(latent_dim=2, hidden=5).train()
    again = compare_gradient_estimators(vae, images[:3], samples=400, generator=generator(1))
    assert again == comparison
    assert vae.training
    assert all(weight.grad is None for weight in vae.parameters())


def test_a_decoder_that_ignores_z_has_no_ratio(make_vae: MakeVae, images: Tensor) -> None:
    vae = make_vae()
    torch.nn.init.zeros_(next(iter(vae.decoder.parameters())))
    found = compare_gradient_estimators(vae, images[:2], samples=4, generator=generator(0))
    assert found.outputs.pathwise.variance == 0
    assert found.outputs.against_score.ratio == math.inf


@pytest.mark.parametrize(("samples", "count"), [(3, 2), (5, 2), (2, 2), (4, 0)])
def test_what_makes_no_pairs_is_refused(
    make_vae: MakeVae, images: Tensor, samples: int, count: int
) -> None:
    with pytest.raises(UsageFault, match="pairs"):
        compare_gradient_estimators(
            make_vae(), images[:count], samples=samples, generator=generator(0)
        )
