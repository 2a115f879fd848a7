"""Bounds of log p(x): they rise with the samples, and agree with the VAE room's own figures."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.device import Compute
from dlcli.engine.seed import generator
from dlcli.evidence.models import LinearGaussian
from dlcli.vae import bounds as room
from dlcli.vae.bounds import Bounds, average, decoder_of, group_sizes, grouped_bound, stream_bounds
from dlcli.vae.evaluation import evaluate
from dlcli.vae.objective import iwae_bound
from dlcli.vae.trained import Trained

CPU = Compute(device=torch.device("cpu"), precision="fp32", threads=1)


def pixels(count: int) -> torch.Tensor:
    return (torch.rand(count, 784, generator=generator(0, "x")) < 0.2).float()


def measured(trained: Trained, x: torch.Tensor, *, k: int, seed: int = 0) -> Bounds:
    decoder = decoder_of(trained, compute=CPU, of_encoded=True)
    *_, last = stream_bounds(trained.model, decoder, x, k=k, generator=generator(seed, "noise"))
    return last


def test_bounds_rise_for_every_image(trained: Trained) -> None:
    found = measured(trained, pixels(7), k=500)
    assert list(found.iwae) == [5, 50, 500]
    assert (found.iwae[5] <= found.iwae[50]).all()
    assert (found.iwae[50] <= found.iwae[500]).all()
    assert found.rises()
    assert ((found.ess >= 1) & (found.ess <= 500)).all()
    assert ((found.max_weight > 0) & (found.max_weight <= 1)).all()


def test_agrees_with_the_vae_rooms_evaluation(trained: Trained) -> None:
    x = pixels(5)
    found = measured(trained, x, k=2000)
    other = evaluate(
        trained.model,
        (x * 255).to(torch.uint8),
        generator=generator(1, "noise"),
        noise_samples=2000,
    )
    assert found.kl.mean().item() == pytest.approx(other.kl, rel=1e-5)
    assert found.latents.kl_per_dim == pytest.approx(other.latents.kl_per_dim, rel=1e-4)
    assert found.latents.active_units == other.latents.active_units
    # A sample's log p(x|z) has a standard deviation of a nat or so: 5 x 2,000 of them.
    assert found.elbo.mean().item() == pytest.approx(other.elbo, abs=0.1)


def test_blocks_of_images_make_no_difference_to_what_is_exact(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = pixels(7)
    whole = measured(trained, x, k=10)
    monkeypatch.setattr(room, "ROWS_AT_ONCE", 20)
    decoder = decoder_of(trained, compute=CPU)
    parts = list(stream_bounds(trained.model, decoder, x, k=10, generator=generator(0, "noise")))
    assert [part.images for part in parts] == [2, 4, 6, 7]
    assert torch.allclose(parts[-1].kl, whole.kl)
    assert torch.equal(parts[1].best, parts[-1].best[:4])
    assert (parts[-1].evaluations, parts[-1].total) == (70, 7)


def test_one_sample_is_a_bound_too(trained: Trained) -> None:
    found = measured(trained, pixels(2), k=1)
    assert list(found.iwae) == [1]
    assert found.ess.tolist() == [1, 1]


def test_the_bound_reaches_the_truth_where_it_is_known() -> None:
    """A linear-Gaussian model whose "encoder" is a little wide: IWAE-2000 is exact to 0.01."""
    torch.manual_seed(0)
    w = torch.randn(6, 2, dtype=torch.float64)
    x = torch.randn(3, 6, dtype=torch.float64)
    model = LinearGaussian(w, 0.5)
    posterior = torch.linalg.inv(torch.eye(2, dtype=torch.float64) + w.T @ w / 0.5)
    mean = x @ w @ posterior / 0.5
    logvar = (1.5 * posterior.diagonal()).log().expand(3, 2)
    found = room._block(
        model,
        x,
        posterior=(mean, logvar),
        latents=lambda v: (v, v.new_zeros(v.shape[:-1])),
        k=20_000,
        generator=generator(0, "noise"),
    )
    law = torch.distributions.MultivariateNormal(
        torch.zeros(6, dtype=torch.float64),
        w @ w.T + 0.5 * torch.eye(6, dtype=torch.float64),
    )
    assert torch.allclose(found[-1], law.log_prob(x), atol=0.03)


def test_grouped_bound_is_the_mean_of_group_bounds() -> None:
    log_w = torch.randn(7, 3, generator=generator(0, "w"), dtype=torch.float64)
    expected = (iwae_bound(log_w[:3]) + iwae_bound(log_w[3:6])) / 2
    assert torch.allclose(grouped_bound(log_w, size=3), expected)


def test_group_sizes_end_at_k() -> None:
    assert group_sizes(5000) == [5, 50, 500, 5000]
    assert group_sizes(7) == [5, 7]
    assert group_sizes(5) == [5]
    assert group_sizes(1) == [1]


def test_average_of_one_image_has_no_error() -> None:
    assert average(torch.tensor([2.0])).std_error is None
    two = average(torch.tensor([1.0, 3.0]))
    assert (two.value, two.std_error) == (2, pytest.approx(math.sqrt(2) / math.sqrt(2)))


def test_with_a_learned_prior_the_kl_is_that_of_the_samples(flowed: Trained) -> None:
    x = pixels(5)
    found = measured(flowed, x, k=4000)
    generators = (generator(seed, "noise") for seed in (1, 2))
    other, again = (
        evaluate(flowed.model, (x * 255).to(torch.uint8), generator=stream, noise_samples=4000)
        for stream in generators
    )
    assert again.kl == pytest.approx(other.kl, abs=0.1)
    assert found.kl.mean().item() == pytest.approx(other.kl, abs=0.1)
    assert found.elbo.mean().item() == pytest.approx(other.elbo, abs=0.2)
    assert found.best.mean().item() == pytest.approx(other.iwae, abs=0.1)
    assert (found.elbo < found.best).all()
    assert found.rises()
