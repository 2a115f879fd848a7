"""Evaluation: its numbers are the objective's, its noise is fixed, and idle units are seen."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.vae.config import VaeObjectiveConfig
from dlcli.vae.evaluation import LatentUse, collapse_sentence, evaluate, latent_use
from dlcli.vae.objective import VaeNetwork
from dlcli.vae.pixels import flat, grey
from tests.vae.conftest import MakeVae


def test_is_the_objective_averaged_over_images(make_vae: MakeVae, images: torch.Tensor) -> None:
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


def test_one_noise_sample_makes_the_bound_an_elbo_with_a_sampled_kl(
    make_vae: MakeVae, images: torch.Tensor
) -> None:
    vae = make_vae()
    one = [evaluate(vae, images, generator=generator(s), noise_samples=1) for s in range(60)]
    gap = torch.tensor([found.iwae - found.elbo for found in one])
    assert gap.mean().abs() < 4 * gap.std() / math.sqrt(60)
    assert evaluate(vae, images, generator=generator(0), noise_samples=40).iwae > one[0].elbo


def test_the_same_generator_gives_the_same_number(make_vae: MakeVae, images: torch.Tensor) -> None:
    runs = [
        evaluate(make_vae(), images, generator=generator(seed), binarize="dynamic", batch_size=20)
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1]
    assert runs[0].elbo != runs[2].elbo


def test_more_noise_samples_agree_within_their_error(
    make_vae: MakeVae, images: torch.Tensor
) -> None:
    vae = make_vae()
    few, many = (evaluate(vae, images, generator=generator(4), noise_samples=s) for s in (4, 64))
    assert few.std_error is not None
    assert abs(few.elbo - many.elbo) < 3 * few.std_error


def test_leaves_the_mode_and_the_gradients_alone(make_vae: MakeVae, images: torch.Tensor) -> None:
    vae = make_vae().train()
    evaluate(vae, images[:3], generator=generator(0), noise_samples=1)
    assert vae.training
    assert all(weight.grad is None for weight in vae.parameters())
    vae.eval()
    latent_use(vae, images[:3], generator=generator(0))
    assert not vae.training


def test_a_single_image_has_no_standard_error(make_vae: MakeVae, images: torch.Tensor) -> None:
    found = evaluate(make_vae(), images[:1], generator=generator(0), noise_samples=2)
    assert found.std_error is None
    assert found.images == 1
    assert found.latents.collapse == ""


def test_nothing_to_measure_is_refused(make_vae: MakeVae, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="at least one"):
        evaluate(make_vae(), images[:0], generator=generator(0))
    with pytest.raises(ValueError, match="at least one"):
        evaluate(make_vae(), images, generator=generator(0), noise_samples=0)


class OneUnit(torch.nn.Module):
    """Unit 0 reads the mean grey value of the upper half, times 10; the others ignore the image."""

    latent_dim = 3
    skip = False

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ink = pixels[:, :392].mean(1)  # of the upper half
        mean = torch.stack([10 * ink, torch.full_like(ink, 5.0), 0 * ink], dim=1)
        return mean, torch.zeros_like(mean)


def test_active_units_are_those_whose_mean_moves(images: torch.Tensor) -> None:
    found = latent_use(OneUnit(), images, generator=generator(0), batch_size=7)  # type: ignore[arg-type]
    ink = grey(flat(images))[:, :392].mean(1)
    assert found.active_units == 1
    assert found.mean_variance[0] == pytest.approx((10 * ink).var(correction=0).item(), rel=1e-4)
    assert found.mean_variance[1] == 0
    assert found.kl_per_dim[1] == pytest.approx(12.5)
    assert found.kl_per_dim[2] == 0


def test_collapse_is_said_in_words() -> None:
    healthy = LatentUse(images=9, kl_per_dim=(2.0, 0.0), mean_variance=(0.5, 0.0))
    assert healthy.collapse == ""
    idle = LatentUse(images=9, kl_per_dim=(0.001, 0.0), mean_variance=(0.001, 0.0))
    assert "0 of 2 latent units" in idle.collapse
    assert "collapsed" in collapse_sentence(active=1, kl_per_dim=[0.2, 0.1])


@pytest.mark.parametrize("kl", [math.nan, math.inf, 1e9])
def test_a_diverged_kl_is_not_called_a_collapse(kl: float) -> None:
    assert collapse_sentence(active=0, kl_per_dim=[kl, 0.0]) == ""
    assert collapse_sentence(active=2, kl_per_dim=[kl, 0.0]) == ""


def test_with_a_learned_prior_one_draw_makes_bound_and_elbo_the_same(
    make_vae: MakeVae, images: torch.Tensor
) -> None:
    vae = make_vae(flow=True)
    one = evaluate(vae, images, generator=generator(0), noise_samples=1)
    assert one.iwae == pytest.approx(one.elbo, rel=1e-6)
    many = evaluate(vae, images, generator=generator(0), noise_samples=20)
    assert many.iwae > many.elbo
