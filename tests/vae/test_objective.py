"""The objective against torch.distributions, theorems, and its own sums."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from dlcli.engine.seed import generator
from dlcli.errors import ConfigError
from dlcli.vae.config import VaeObjectiveConfig
from dlcli.vae.images import flat, grey
from dlcli.vae.likelihood import (
    likelihood_named,
)
from dlcli.vae.objective import (
    ChoosingNoise,
    VaeNetwork,
    beta_at,
    free_bits_kl,
    iwae_bound,
    kl_standard_normal,
    log_weights,
    resample,
)
from tests.vae.conftest import make_vae

BERNOULLI = likelihood_named("bernoulli", channels=1)


ONE = torch.tensor(1.0)


def posterior(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    stream = generator(0, "posterior")
    mean, logvar = torch.randn(2, *shape, generator=stream, dtype=torch.float64)
    return mean, logvar


def test_kl_matches_torch_distributions() -> None:
    mean, logvar = posterior(5, 3)
    reference = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    assert torch.allclose(kl_standard_normal(mean, logvar), reference)


def test_kl_keeps_its_digits_near_zero() -> None:
    small = torch.tensor(1e-4)
    assert kl_standard_normal(torch.tensor(0.0), small).item() == pytest.approx(2.5e-9, rel=1e-3)


def forward(network: VaeNetwork, images: torch.Tensor, *, eps: torch.Tensor) -> dict[str, float]:
    parts = network(grey(flat(images)), eps, ONE)
    return {name: value.item() for name, value in parts.items()}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed, "eps"))


def test_the_elbo_is_the_sum_of_its_halves(images: torch.Tensor) -> None:
    network = VaeNetwork(make_vae(), objective=VaeObjectiveConfig())
    parts = forward(network, images, eps=noise(53, 3))
    assert parts["loss"] == pytest.approx(parts["reconstruction"] + parts["kl"])
    halves = [forward(network, images[a:b], eps=noise(53, 3)[a:b]) for a, b in ((0, 20), (20, 53))]
    for name, value in parts.items():
        assert sum(half[name] for half in halves) == pytest.approx(value, rel=1e-5)


def test_beta_weighs_the_kl_only(images: torch.Tensor) -> None:
    network = VaeNetwork(make_vae(), objective=VaeObjectiveConfig())
    pixels = grey(flat(images))
    plain, heavy = (network(pixels, noise(53, 3), torch.tensor(b)) for b in (1.0, 4.0))
    assert torch.equal(plain["kl"], heavy["kl"])
    assert torch.allclose(heavy["loss"] - plain["loss"], 3 * plain["kl"], rtol=1e-4)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "objective",
    [
        {},
        {"likelihood": "continuous-bernoulli"},
        {"objective": "iwae", "k": 2},
        {"objective": "iwae", "k": 4, "backward_samples": 2},
    ],
)
def test_every_objective_reaches_every_parameter(
    images: torch.Tensor, objective: dict[str, Any], precision: torch.dtype
) -> None:
    config = VaeObjectiveConfig(**objective)
    network = VaeNetwork(make_vae(), objective=config)
    drawn = noise(config.k, 53, 3) if config.objective == "iwae" else noise(53, 3)
    if config.backward_samples:
        drawn = ChoosingNoise(drawn, torch.rand(53))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        loss = network(grey(flat(images)), drawn, ONE)["loss"]
    loss.backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_a_batch_of_no_images_costs_nothing() -> None:
    for objective in (VaeObjectiveConfig(), VaeObjectiveConfig(free_bits=0.5)):
        network = VaeNetwork(make_vae(), objective=objective)
        parts = network(torch.zeros(0, 784), noise(0, 3), ONE)
        parts["loss"].backward()
        assert parts["loss"].item() == 0


def test_one_iwae_sample_is_the_elbo_with_a_sampled_kl(images: torch.Tensor) -> None:
    """Exactly: log w of one sample. On average over noise: the ELBO with its closed-form KL."""
    vae = make_vae()
    elbo = VaeNetwork(vae, objective=VaeObjectiveConfig())
    iwae = VaeNetwork(vae, objective=VaeObjectiveConfig(objective="iwae", k=1))
    pairs = []
    for seed in range(400):
        eps = noise(53, 3, seed=seed)
        pairs.append(
            (forward(elbo, images, eps=eps)["loss"], forward(iwae, images, eps=eps[None])["loss"])
        )
    difference = torch.tensor([a - b for a, b in pairs], dtype=torch.float64)
    assert difference.std() > 0
    assert difference.mean().abs() < 4 * difference.std() / math.sqrt(400)


def test_samples_are_chosen_in_proportion_to_their_weights() -> None:
    log_w = 3 * noise(6, 4).double() - 700
    draws = 4000
    offsets = torch.rand(draws, generator=generator(3))
    for image in range(4):
        many = log_w[:, image : image + 1].expand(-1, draws)
        chosen = resample(many, offsets=offsets, count=3)
        counts = torch.stack([(chosen == i).sum(0) for i in range(6)]).double()
        expected = 3 * log_w[:, image].softmax(0)
        assert (counts - expected[:, None]).abs().max() < 1
        spread = 5 * 0.5 / math.sqrt(draws)
        assert torch.allclose(counts.mean(1), expected, rtol=0, atol=spread)


@pytest.mark.parametrize("offset", [0.0, 1 - 2**-24])
def test_a_sample_without_weight_is_never_chosen(offset: float) -> None:
    log_w = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf])[:, None]
    chosen = resample(log_w, offsets=torch.tensor([offset]), count=2)
    assert chosen.flatten().tolist() == [1, 3]


@pytest.mark.parametrize("flow", [False, True])
def test_gradients_of_chosen_samples_average_to_those_of_all(
    images: torch.Tensor, flow: bool
) -> None:
    """The value is exactly that of all samples; the gradient's mean over offsets is too."""
    vae = make_vae(flow=flow).double()
    pixels = grey(flat(images[:5])).double()
    eps = torch.randn(6, 5, 3, generator=generator(0), dtype=torch.float64)
    parameters = list(vae.parameters())
    objective = VaeObjectiveConfig(objective="iwae", k=6)
    whole = VaeNetwork(vae, objective=objective)(pixels, eps, ONE)["loss"]
    expected = torch.autograd.grad(whole, parameters)
    objective = VaeObjectiveConfig(objective="iwae", k=6, backward_samples=2)
    network, totals = (
        VaeNetwork(vae, objective=objective),
        [torch.zeros_like(p) for p in parameters],
    )
    for offset in (torch.arange(200) + 0.5) / 200:
        loss = network(pixels, ChoosingNoise(eps, offset.expand(5)), ONE)["loss"]
        assert loss.item() == pytest.approx(whole.item(), rel=1e-9)
        found = torch.autograd.grad(loss, parameters)
        totals = [total + part / 200 for total, part in zip(totals, found, strict=True)]
    for total, part in zip(totals, expected, strict=True):
        assert torch.allclose(total, part, atol=0.02 * float(part.abs().max()) + 1e-9)


def test_log_weights_are_log_joint_minus_log_posterior() -> None:
    mean, logvar = posterior(5, 3)
    eps = noise(2, 5, 3).double()
    z = mean + (0.5 * logvar).exp() * eps
    joint = Normal(0.0, 1.0).log_prob(z).sum(-1)
    proposal = Normal(mean, (0.5 * logvar).exp()).log_prob(z).sum(-1)
    ours = log_weights(torch.full((2, 5), 7.0), z=z, eps=eps, logvar=logvar)
    assert torch.allclose(ours.double(), 7 + joint - proposal)


def test_free_bits_make_cheap_dimensions_cost_a_constant() -> None:
    kl = torch.tensor([[0.1, 2.0, 0.0], [0.3, 1.0, 0.6]], requires_grad=True)
    cost = free_bits_kl(kl, free_bits=0.5)
    assert cost.item() == pytest.approx(2 * 0.5 + 3.0 + 2 * 0.5)
    cost.backward()
    assert kl.grad is not None
    assert kl.grad.tolist() == [[0, 1, 0], [0, 1, 0]]


def test_beta_grows_linearly_and_stays() -> None:
    config = VaeObjectiveConfig(beta=2.0, beta_warmup_epochs=4.0)
    assert [beta_at(config, epoch=e) for e in (0, 1, 2.5, 4, 9)] == [0, 0.5, 1.25, 2, 2]
    assert beta_at(VaeObjectiveConfig(beta=3.0), epoch=0) == 3


def test_free_bits_of_two_halves_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dimension pays by its mean over the global batch, which processes add up."""
    kl = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1], [0.9, 0.1], [0.9, 0.3]])
    whole = free_bits_kl(kl, free_bits=0.5)
    halves = [kl[:2], kl[2:]]
    sums = [torch.cat([half.sum(0), torch.tensor([float(len(half))])]) for half in halves]

    def add_up(values: torch.Tensor) -> None:
        values.copy_(sums[0] + sums[1])

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.all_reduce", add_up)
    parts = [free_bits_kl(half, free_bits=0.5) for half in halves]
    assert torch.allclose(parts[0] + parts[1], whole)
    monkeypatch.undo()
    assert not torch.allclose(sum(free_bits_kl(h, free_bits=0.5) for h in halves), whole)


@pytest.mark.parametrize("backward", [0, 2])
def test_the_two_halves_of_a_learned_priors_bound_are_those_of_its_samples(
    images: torch.Tensor, backward: int
) -> None:
    vae = make_vae(flow=True)
    objective = VaeObjectiveConfig(objective="iwae", k=4, backward_samples=backward)
    pixels, eps = grey(flat(images)), torch.randn(4, 53, 3, generator=generator(0))
    noise = ChoosingNoise(eps, torch.rand(53, generator=generator(1))) if backward else eps
    with torch.no_grad():
        found = VaeNetwork(vae, objective=objective)(pixels, noise, ONE)
        mean, logvar = vae.encode(pixels)
        z, log_det = vae.latents(mean + (0.5 * logvar).exp() * eps)
        log_lik = BERNOULLI.log_prob(vae.decode(z), pixels)
    prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    posterior = Normal(0.0, 1.0).log_prob(eps).sum(-1) - 0.5 * logvar.sum(-1) - log_det
    log_w = log_lik + prior - posterior
    assert found["loss"].item() == pytest.approx(-iwae_bound(log_w).sum().item(), rel=1e-5)
    halves = (found["reconstruction"] + found["kl"]).item()
    assert halves == pytest.approx(-log_w.mean(0).sum().item(), rel=1e-5)


def test_a_learned_prior_has_the_gradient_that_differences_say(images: torch.Tensor) -> None:
    vae = make_vae(flow=True).double()
    network = VaeNetwork(vae, objective=VaeObjectiveConfig(objective="iwae", k=3))
    pixels = grey(flat(images[:5])).double()
    eps = torch.randn(3, 5, 3, generator=generator(0), dtype=torch.float64)
    network(pixels, eps, ONE)["loss"].backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        where = int(parameter.grad.abs().argmax())
        slope, step = parameter.grad.flatten()[where].item(), 1e-6
        losses = []
        with torch.no_grad():
            for moved in (step, -2 * step, step):
                parameter.flatten()[where] += moved  # a view: parameters are contiguous
                losses.append(network(pixels, eps, ONE)["loss"].item())
        assert slope != 0, name
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_an_elbo_with_a_learned_prior_is_refused() -> None:
    with pytest.raises(ConfigError, match="no KL in closed form"):
        VaeNetwork(make_vae(flow=True), objective=VaeObjectiveConfig())
