"""The ELBO as one function is what the plain modules give, and declines what it does not know."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae import fast
from dlcli.vae.config import LikelihoodName, VaeModelConfig, VaeObjectiveConfig
from dlcli.vae.networks import VAE, MlpEncoder, build_model
from dlcli.vae.objective import VaeNetwork

B, D = 5, 3


def build(*, likelihood: LikelihoodName = "bernoulli", **settings: Any) -> VAE:
    torch.manual_seed(0)
    config = VaeModelConfig(**{"hidden": (7,), "latent_dim": D, **settings})
    return build_model(config, likelihood=likelihood)


def wrap(vae: VAE) -> VaeNetwork:
    return VaeNetwork(vae, objective=VaeObjectiveConfig())


def sums_and_gradients(
    network: VaeNetwork, *, precision: torch.dtype | None = None, beta: float = 0.7
) -> list[Tensor]:
    dtype = network.vae.posterior.weight.dtype
    stream = torch.Generator().manual_seed(1)
    x = torch.rand(B, 784, generator=stream, dtype=dtype)
    eps = torch.randn(B, D, generator=stream, dtype=dtype)
    network.zero_grad(set_to_none=True)
    torch.manual_seed(2)  # of dropout
    with torch.autocast("cpu", precision) if precision else nullcontext():
        parts = network(x, eps, torch.tensor(beta))
    torch.autograd.backward(parts["loss"] * 0.37)
    gradients = []
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.is_contiguous()
        gradients.append(parameter.grad)
    return [part.detach() for part in parts.values()] + gradients


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no fast path from now on."""
    monkeypatch.setattr(fast, "takes_negative_elbo", lambda *_: False)


class WithDropout(MlpEncoder):
    """Drops by a function, so that no module shows it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5)


def add_module(vae: Any) -> None:
    vae.encoder.layers.append(nn.Dropout(0.5))


def add_unused_module(vae: Any) -> None:
    vae.encoder.dropout = nn.Dropout(0.5)


def add_setting(vae: Any) -> None:
    vae.encoder.dropout = 0.5


def add_hook(vae: Any) -> None:
    vae.encoder.register_forward_hook(lambda _module, _inputs, output: 0 * output)


def change_class(vae: Any) -> None:
    vae.encoder.__class__ = WithDropout


CHANGES = (add_module, add_unused_module, add_setting, add_hook, change_class)


@pytest.mark.parametrize("change", CHANGES)
def test_it_declines_what_it_does_not_know(
    change: Callable[[VAE], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers and gradients, in bfloat16, are then those of plain PyTorch."""
    known, changed = build(), build()
    usual = sums_and_gradients(wrap(known), precision=torch.bfloat16)
    change(changed)
    ours = sums_and_gradients(wrap(changed), precision=torch.bfloat16)
    plainly(monkeypatch)
    theirs = sums_and_gradients(wrap(changed), precision=torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(usual, theirs, strict=True))


@pytest.mark.parametrize(
    ("objective", "model"),
    [
        ({"objective": "iwae", "k": 2}, {}),
        ({"free_bits": 0.1}, {}),
        ({}, {"likelihood": "continuous-bernoulli"}),
        ({}, {"likelihood": "logistic"}),
        ({}, {"arch": "conv"}),
    ],
)
def test_anything_but_the_plain_elbo_of_the_mlp_takes_the_ordinary_way(
    objective: dict[str, Any], model: dict[str, Any]
) -> None:
    pixels = torch.rand(B, 784)
    assert fast.takes_negative_elbo(build(), VaeObjectiveConfig(), pixels)
    assert not fast.takes_negative_elbo(build(**model), VaeObjectiveConfig(**objective), pixels)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("change", ["without a ReLU", "with a ReLU at the end", "ends early"])
def test_layers_in_another_order_are_declined(half: str, change: str) -> None:
    vae = build(hidden=(7, 7))
    layers: Any = vae.get_submodule(half).layers
    if change == "with a ReLU at the end":
        layers.append(nn.ReLU())
    elif change == "ends early":
        del layers[-1]
    else:
        del (layers[0] if half == "encoder" else layers)[1]
    assert fast.claims(vae)
    assert not fast.takes_negative_elbo(vae, VaeObjectiveConfig(), torch.rand(B, 784))


def test_a_layer_without_a_bias_is_declined() -> None:
    vae = build()
    vae.posterior = nn.Linear(vae.posterior.in_features, 2 * D, bias=False)
    assert not fast.takes_negative_elbo(vae, VaeObjectiveConfig(), torch.rand(B, 784))


@pytest.mark.parametrize("hidden", [(7,), (11, 5), (7, 6, 5)])
def test_sums_and_gradients_are_autograds(
    hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = wrap(build(hidden=hidden)).double()
    ours = sums_and_gradients(network)
    plainly(monkeypatch)
    for mine, theirs in zip(ours, sums_and_gradients(network), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_in_bfloat16_it_differs_from_autocast_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    network = wrap(build(hidden=(50,)))
    ours = sums_and_gradients(network, precision=torch.bfloat16)
    plainly(monkeypatch)
    theirs = sums_and_gradients(network, precision=torch.bfloat16)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - other).norm() < 0.01 * other.norm()


def test_no_gradient_flows_where_logvar_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    network = wrap(build()).double()
    with torch.no_grad():
        network.vae.posterior.bias[D:] = torch.tensor([-40.0, 25.0, 0.0])
    ours = sums_and_gradients(network, beta=1e-9)
    plainly(monkeypatch)
    for mine, theirs in zip(ours, sums_and_gradients(network, beta=1e-9), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("scale", [0.1, 10.0, 1000.0])
def test_the_cross_entropy_is_torchs_also_where_pixels_are_certain(scale: float) -> None:
    logits = scale * torch.randn(B, 784)
    pixels = torch.rand(B, 784).round(decimals=1)
    value, gradient = fast.cross_entropy(logits, pixels)
    expected = F.binary_cross_entropy_with_logits(logits.double(), pixels.double(), reduction="sum")
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(gradient, torch.sigmoid(logits) - pixels)
    logits[2, 3] = torch.nan
    assert not torch.isfinite(fast.cross_entropy(logits, pixels)[0])
