"""The negative ELBO as one function against the modules that it stands for."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.vae import fused_mlp
from dlcli.vae.config import VaeModelConfig, VaeObjectiveConfig
from dlcli.vae.networks import build_model
from dlcli.vae.objective import VaeNetwork

B, D = 5, 3


def _network(hidden: tuple[int, ...] = (7,), dtype: torch.dtype = torch.float64) -> VaeNetwork:
    torch.manual_seed(0)
    vae = build_model(VaeModelConfig(hidden=hidden, latent_dim=D))
    return VaeNetwork(vae, objective=VaeObjectiveConfig()).to(dtype)


def _sums_and_gradients(
    network: VaeNetwork, *, precision: torch.dtype | None = None, beta: float = 0.7
) -> list[Tensor]:
    dtype = network.vae.posterior.weight.dtype
    stream = torch.Generator().manual_seed(1)
    x = torch.rand(B, 784, generator=stream, dtype=dtype)
    eps = torch.randn(B, D, generator=stream, dtype=dtype)
    network.zero_grad(set_to_none=True)
    with torch.autocast("cpu", precision) if precision else nullcontext():
        parts = network(x, eps, torch.tensor(beta))
    torch.autograd.backward(parts["loss"] * 0.37)
    gradients = [p.grad for p in network.parameters()]
    for gradient, parameter in zip(gradients, network.parameters(), strict=True):
        assert gradient is not None
        assert gradient.stride() == parameter.stride()
    return [part.detach() for part in parts.values()] + [g for g in gradients if g is not None]


@pytest.mark.parametrize("hidden", [(7,), (11, 5), (7, 6, 5)])
def test_sums_and_gradients_are_autograds(
    hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = _network(hidden)
    ours = _sums_and_gradients(network)
    monkeypatch.setattr(fused_mlp, "applies", lambda *_: False)
    for mine, theirs in zip(ours, _sums_and_gradients(network), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_in_bfloat16_it_differs_from_autocast_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network((50,), torch.float32)
    ours = _sums_and_gradients(network, precision=torch.bfloat16)
    monkeypatch.setattr(fused_mlp, "applies", lambda *_: False)
    theirs = _sums_and_gradients(network, precision=torch.bfloat16)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - other).norm() < 0.01 * other.norm()


def test_no_gradient_flows_where_logvar_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network()
    with torch.no_grad():
        network.vae.posterior.bias[D:] = torch.tensor([-40.0, 25.0, 0.0])
    ours = _sums_and_gradients(network, beta=1e-9)
    monkeypatch.setattr(fused_mlp, "applies", lambda *_: False)
    for mine, theirs in zip(ours, _sums_and_gradients(network, beta=1e-9), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("scale", [0.1, 10.0, 1000.0])
def test_the_cross_entropy_is_torchs_also_where_pixels_are_certain(scale: float) -> None:
    logits = scale * torch.randn(B, 784)
    pixels = torch.rand(B, 784).round(decimals=1)
    value, gradient = fused_mlp.cross_entropy(logits, pixels)
    expected = F.binary_cross_entropy_with_logits(logits.double(), pixels.double(), reduction="sum")
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(gradient, torch.sigmoid(logits) - pixels)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    logits = torch.zeros(B, 784)
    logits[2, 3] = bad
    value, _ = fused_mlp.cross_entropy(logits, torch.full((B, 784), 0.5))
    assert not torch.isfinite(value)


@pytest.mark.parametrize(
    ("objective", "model"),
    [
        (VaeObjectiveConfig(objective="iwae", k=2), VaeModelConfig()),
        (VaeObjectiveConfig(free_bits=0.1), VaeModelConfig()),
        (VaeObjectiveConfig(likelihood="continuous-bernoulli"), VaeModelConfig()),
        (VaeObjectiveConfig(), VaeModelConfig(arch="conv")),
    ],
)
def test_anything_else_takes_the_ordinary_way(
    objective: VaeObjectiveConfig, model: VaeModelConfig
) -> None:
    pixels = torch.rand(B, 784)
    assert fused_mlp.applies(build_model(VaeModelConfig()), VaeObjectiveConfig(), pixels)
    assert not fused_mlp.applies(build_model(model), objective, pixels)
