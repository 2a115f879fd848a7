"""Both estimators point where a finite difference of the expected loss does; one scatters less."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.vae.gradients import GradientComparison, compare_gradient_estimators
from dlcli.vae.likelihood import Bernoulli
from dlcli.vae.networks import VAE
from tests.vae.conftest import make_vae


def test_the_score_function_gradient_is_the_derivative_of_the_same_expectation() -> None:
    """With f(z) = z² and q = N(μ, σ²): E f = μ² + σ², so ∂/∂μ = 2μ and ∂/∂log σ² = σ²."""

    class Square(torch.nn.Module):
        latent_dim, skip = 1, False

        def __init__(self) -> None:
            super().__init__()
            self.likelihood = Bernoulli()
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
def comparison(images: Tensor) -> GradientComparison:
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


def test_the_comparison_is_reproducible(images: Tensor, comparison: GradientComparison) -> None:
    vae = make_vae(latent_dim=2, hidden=5).train()
    again = compare_gradient_estimators(vae, images[:3], samples=400, generator=generator(1))
    assert again == comparison
    assert vae.training
    assert all(weight.grad is None for weight in vae.parameters())


def test_a_decoder_that_ignores_z_has_no_ratio(images: Tensor) -> None:
    vae = make_vae()
    torch.nn.init.zeros_(next(iter(vae.decoder.parameters())))
    found = compare_gradient_estimators(vae, images[:2], samples=4, generator=generator(0))
    assert found.outputs.pathwise.variance == 0
    assert found.outputs.against_score.ratio == math.inf


@pytest.mark.parametrize(("samples", "count"), [(3, 2), (5, 2), (2, 2), (4, 0)])
def test_what_makes_no_pairs_is_refused(images: Tensor, samples: int, count: int) -> None:
    with pytest.raises(UsageFault, match="pairs"):
        compare_gradient_estimators(
            make_vae(), images[:count], samples=samples, generator=generator(0)
        )
