"""Evaluation: its numbers are the objective's, its noise is fixed, and idle units are seen."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.vae.config import VaeObjectiveConfig
from dlcli.vae.elbo import LatentUse, collapse_sentence, evaluate, latent_use
from dlcli.vae.images import flat, grey
from dlcli.vae.objective import VaeNetwork
from tests.vae.conftest import make_vae


def test_is_the_objective_averaged_over_images(images: torch.Tensor) -> None:
    vae = make_vae()
    found = evaluate(vae, images, generator=generator(3), noise_samples=1)
    eps = torch.randn(53, 3, generator=generator(3))
    parts = VaeNetwork(vae, objective=VaeObjectiveConfig())(
        grey(flat(images)), eps, torch.tensor(1.0)
    )
    assert found.reconstruction == pytest.approx(parts["reconstruction"].item() / 53, rel=1e-5)
    assert found.kl == pytest.approx(parts["kl"].item() / 53, rel=1e-5)
    assert found.elbo == pytest.approx(-parts["loss"].item() / 53, rel=1e-5)
    assert math.fsum(found.latents.kl_per_dim) == pytest.approx(found.kl, rel=1e-5)


def test_the_same_generator_gives_the_same_number(images: torch.Tensor) -> None:
    runs = [
        evaluate(make_vae(), images, generator=generator(seed), binarize="dynamic", batch_size=20)
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1]
    assert runs[0].elbo != runs[2].elbo


def test_leaves_the_mode_and_the_gradients_alone(images: torch.Tensor) -> None:
    vae = make_vae().train()
    evaluate(vae, images[:3], generator=generator(0), noise_samples=1)
    assert vae.training
    assert all(weight.grad is None for weight in vae.parameters())
    vae.eval()
    latent_use(vae, images[:3], generator=generator(0))
    assert not vae.training


def test_a_single_image_has_no_standard_error(images: torch.Tensor) -> None:
    found = evaluate(make_vae(), images[:1], generator=generator(0), noise_samples=2)
    assert found.std_error is None
    assert found.images == 1
    assert found.latents.collapse() == ""


def test_nothing_to_measure_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="at least one"):
        evaluate(make_vae(), images[:0], generator=generator(0))
    with pytest.raises(ValueError, match="at least one"):
        evaluate(make_vae(), images, generator=generator(0), noise_samples=0)


class OneUnit(torch.nn.Module):
    """Unit 0 reads the mean grey value of the upper half, times 10; the others ignore the image."""

    latent_dim = 3
    skip = False
    flow = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ink = pixels[:, :392].mean(1)  # of the upper half
        mean = torch.stack([10 * ink, torch.full_like(ink, 5.0), 0 * ink], dim=1)
        return mean, torch.zeros_like(mean)

    def latents(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return v, v.new_zeros(len(v))


def test_active_units_are_those_whose_mean_moves(images: torch.Tensor) -> None:
    found = latent_use(OneUnit(), images, generator=generator(0), batch_size=7)  # type: ignore[arg-type]
    ink = grey(flat(images))[:, :392].mean(1)
    assert found.active_units == 1
    assert found.mean_variance[0] == pytest.approx((10 * ink).var(correction=0).item(), rel=1e-4)
    assert found.mean_variance[1] == 0
    assert found.kl_per_dim[1] == pytest.approx(12.5)
    assert found.kl_per_dim[2] == 0


def test_collapse_is_said_in_words() -> None:
    healthy = LatentUse(images=9, kl=2.0, kl_per_dim=(2.0, 0.0), mean_variance=(0.5, 0.0))
    assert healthy.collapse() == ""
    idle = LatentUse(images=9, kl=0.001, kl_per_dim=(0.001, 0.0), mean_variance=(0.001, 0.0))
    assert "0 of 2 latent units" in idle.collapse()
    assert "--beta " not in idle.collapse(objective="iwae")
    assert "collapsed" in collapse_sentence(active=1, kl=0.3, dims=2)


@pytest.mark.parametrize("kl", [math.nan, math.inf, 1e9])
def test_a_diverged_kl_is_not_called_a_collapse(kl: float) -> None:
    assert collapse_sentence(active=0, kl=kl, dims=2) == ""
    assert collapse_sentence(active=2, kl=kl, dims=2) == ""


def test_with_a_learned_prior_the_bound_reaches_the_evidence(images: torch.Tensor) -> None:
    vae = make_vae(latent_dim=2, flow=True)
    x, axis = grey(flat(images[:1])), torch.linspace(-7, 7, 101)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        given = vae.likelihood.log_prob(vae.decode(grid)[:, None], x).double()  # (101², 1)
    prior = -0.5 * grid.double().square().sum(-1) - math.log(2 * math.pi)
    cell = (axis[1] - axis[0]).double() ** 2
    truth = torch.logsumexp(given + prior[:, None] + cell.log(), 0).item()
    found = evaluate(vae, images[:1], generator=generator(0), noise_samples=3_000)
    assert found.iwae == pytest.approx(truth, abs=0.1)
    assert found.elbo < truth


def test_latents_of_a_learned_prior_are_judged_where_that_prior_is_standard(
    images: torch.Tensor,
) -> None:
    """The encoder says the same of every image, and the flow has learned that."""
    vae = make_vae(latent_dim=2, flow=True)
    assert vae.flow is not None
    with torch.no_grad():
        vae.posterior.weight.zero_()
        vae.posterior.bias.copy_(torch.tensor([3.0, 3.0, 0.0, 0.0]))
        for coupling in vae.flow.couplings:
            for parameter in coupling.parameters():
                parameter.zero_()
        for coupling in list(vae.flow.couplings)[:2]:  # one after the other, each moves a half
            coupling.network[-1].bias[1] = -3.0
    found = evaluate(vae, images, generator=generator(0), noise_samples=50)
    assert found.latents.kl_per_dim == ()
    assert found.kl == pytest.approx(0, abs=0.1)
    assert "0 of 2 latent units" in found.latents.collapse(objective="iwae")
    watched = latent_use(vae, images, generator=generator(0))
    assert watched.kl == pytest.approx(0, abs=0.5)
    assert watched.active_units == 0


def test_the_standard_error_is_that_of_the_elbo_over_images(images: torch.Tensor) -> None:
    vae = make_vae()
    with torch.no_grad():
        vae.posterior.weight *= 20  # so that images differ in their KL
    whole = evaluate(vae, images, generator=generator(4), noise_samples=500)
    each = [
        evaluate(vae, image[None], generator=generator(n), noise_samples=500).elbo
        for n, image in enumerate(images)
    ]
    expected = torch.tensor(each).std().item() / math.sqrt(len(each))
    assert whole.std_error == pytest.approx(expected, rel=0.1)


def test_units_are_active_where_the_prior_is_standard(images: torch.Tensor) -> None:
    vae = make_vae(latent_dim=2, flow=True)
    found = evaluate(vae, images, generator=generator(0), noise_samples=1)
    with torch.no_grad():
        mean, _ = vae.encode(grey(flat(images)))
        moved, _ = vae.latents(mean)
    assert found.latents.mean_variance == pytest.approx(moved.var(0, correction=0).tolist())
    assert found.latents.mean_variance != pytest.approx(mean.var(0, correction=0).tolist())
