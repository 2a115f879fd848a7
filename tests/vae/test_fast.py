"""Fast paths agree with the plain modules they stand for, and decline what they do not know."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae import fast
from dlcli.vae.config import VaeModelConfig, VaeObjectiveConfig
from dlcli.vae.fast import (
    FirstStage,
    ProductConv2d,
    ProductTranspose2d,
    claims,
    first_stage,
    weight_gradient,
)
from dlcli.vae.networks import VAE, ConvStage, MlpEncoder, build_model
from dlcli.vae.objective import VaeNetwork

B, C, D = 5, 3, 3
MLP = {"hidden": (7,), "latent_dim": D}
CONV = {"arch": "conv", "latent_dim": D, "channels": (32, 4, 5, 7), "decoder_channels": (7, 5, 3)}


def build(**settings: Any) -> VAE:
    torch.manual_seed(0)
    return build_model(VaeModelConfig(**settings))


def wrap(vae: VAE, **objective: Any) -> VaeNetwork:
    return VaeNetwork(vae, objective=VaeObjectiveConfig(**objective))


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
    monkeypatch.setattr(fast, "accelerate", lambda _: None)


class WithDropout(MlpEncoder):
    """Drops by a function, so that no module shows it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5)


def add_module(vae: VAE) -> None:
    encoder: Any = vae.encoder
    layers = encoder.layers if isinstance(encoder, MlpEncoder) else encoder.dense
    layers.append(nn.Dropout(0.5))


def add_unused_module_to_a_stage(vae: VAE) -> None:
    encoder: Any = vae.encoder
    stage = encoder if isinstance(encoder, MlpEncoder) else encoder.stages[0]
    stage.dropout = nn.Dropout(0.5)


def add_setting(vae: VAE) -> None:
    encoder: Any = vae.encoder
    (encoder if isinstance(encoder, MlpEncoder) else encoder.stages[0]).dropout = 0.5


def add_hook(vae: VAE) -> None:
    vae.encoder.register_forward_hook(lambda _module, _inputs, output: 0 * output)


def change_class(vae: VAE) -> None:
    encoder: Any = vae.encoder
    if isinstance(encoder, MlpEncoder):
        encoder.__class__ = WithDropout
    else:
        encoder.stages[1].conv.__class__ = type("Other", (nn.Conv2d,), {})


CHANGES = (add_module, add_unused_module_to_a_stage, add_setting, add_hook, change_class)


@pytest.mark.parametrize("settings", [MLP, CONV], ids=["mlp", "conv"])
@pytest.mark.parametrize("change", CHANGES)
def test_every_fast_path_declines_what_it_does_not_know(
    settings: dict[str, Any], change: Callable[[VAE], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers and gradients of all paths, in bfloat16, are then those of plain PyTorch."""
    known, changed, plain = build(**settings), build(**settings), build(**settings)
    usual = sums_and_gradients(wrap(known), precision=torch.bfloat16)
    change(changed)
    change(plain)
    ours = sums_and_gradients(wrap(changed), precision=torch.bfloat16)
    accelerated = {FirstStage, ProductConv2d, ProductTranspose2d}
    assert not accelerated & {type(part) for part in changed.modules()}
    assert accelerated <= {type(part) for part in known.modules()} or settings is MLP
    plainly(monkeypatch)
    theirs = sums_and_gradients(wrap(plain), precision=torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(usual, theirs, strict=True))


@pytest.mark.parametrize(
    "setting",
    [
        {"padding_mode": "reflect"},
        {"dilation": (2, 2), "padding": (2, 2)},
        {"bias": nn.Parameter(torch.ones(32))},
    ],
    ids=lambda setting: " ".join(setting),
)
def test_a_known_layer_with_another_setting_is_declined(setting: dict[str, Any]) -> None:
    vae = build(**CONV)
    wrap(vae)
    encoder: Any = vae.encoder
    stage, x = encoder.stages[0].train(), torch.rand(B, 1, 28, 28)
    conv = nn.Conv2d(
        1,
        32,
        3,
        **{"padding": 1, "bias": "bias" in setting}
        | {key: value for key, value in setting.items() if key != "bias"},
    )
    stage.conv = conv
    assert torch.equal(stage(x), ConvStage.forward(stage, x))
    mlp = build(**MLP)
    mlp.posterior = nn.Linear(mlp.posterior.in_features, 2 * D, bias=False)
    assert not fast.takes_negative_elbo(mlp, VaeObjectiveConfig(), torch.rand(B, 784))


def test_a_module_added_later_is_noticed_too() -> None:
    vae = build(**CONV)
    wrap(vae)
    encoder: Any = vae.encoder
    stage, x = encoder.stages[0].train(), torch.rand(B, 1, 28, 28)
    quick = stage(x)
    stage.dropout = nn.Dropout(0.5)
    assert type(stage) is FirstStage
    assert torch.equal(stage(x), ConvStage.forward(stage, x))
    torch.testing.assert_close(stage(x), quick)


@pytest.mark.parametrize(
    ("objective", "model"),
    [
        ({"objective": "iwae", "k": 2}, {}),
        ({"free_bits": 0.1}, {}),
        ({"likelihood": "continuous-bernoulli"}, {}),
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
    vae = build(hidden=(7, 7), latent_dim=D)
    layers: Any = vae.get_submodule(half).layers
    if change == "with a ReLU at the end":
        layers.append(nn.ReLU())
    elif change == "ends early":
        del layers[-1]
    else:
        del (layers[0] if half == "encoder" else layers)[1]
    assert claims(vae, fast._MLP)
    assert not fast.takes_negative_elbo(vae, VaeObjectiveConfig(), torch.rand(B, 784))


@pytest.mark.parametrize("norm", ["batch", "frozen", "none"])
@pytest.mark.parametrize("changed", [{}, {"skip": True}, {"prior": "flow"}, {"dense": (6,)}])
def test_every_convolutional_network_of_the_settings_is_accelerated(
    norm: str, changed: dict[str, Any]
) -> None:
    vae = build(**CONV, norm=norm, **changed)
    names = list(vae.state_dict())
    fast.accelerate(vae)
    assert {FirstStage, ProductConv2d, ProductTranspose2d} <= {type(m) for m in vae.modules()}
    assert list(vae.state_dict()) == names


@pytest.mark.parametrize("hidden", [(7,), (11, 5), (7, 6, 5)])
def test_sums_and_gradients_are_autograds(
    hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = wrap(build(hidden=hidden, latent_dim=D)).double()
    ours = sums_and_gradients(network)
    plainly(monkeypatch)
    for mine, theirs in zip(ours, sums_and_gradients(network), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_in_bfloat16_it_differs_from_autocast_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    network = wrap(build(hidden=(50,), latent_dim=D))
    ours = sums_and_gradients(network, precision=torch.bfloat16)
    plainly(monkeypatch)
    theirs = sums_and_gradients(network, precision=torch.bfloat16)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - other).norm() < 0.01 * other.norm()


def test_no_gradient_flows_where_logvar_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    network = wrap(build(**MLP)).double()
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


def stage_layers(dtype: torch.dtype = torch.float64) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv = nn.Conv2d(1, C, 3, padding=1, bias=False).to(dtype)
    norm = nn.BatchNorm2d(C).to(dtype)
    nn.init.uniform_(norm.weight, -1, 1)  # a negative scale turns the largest into the smallest
    nn.init.normal_(norm.bias)
    return conv, norm


def usual_stage(images: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    return F.max_pool2d(F.relu(norm(conv(images[:, None]))), 2)


def measure_stage(
    way: Callable[..., Tensor], images: Tensor, layers: tuple[nn.Conv2d, nn.BatchNorm2d]
) -> list[Tensor]:
    conv, norm = layers
    norm.reset_running_stats()
    out = way(images, conv, norm)
    weights = (conv.weight, norm.weight, norm.bias)
    pull = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    grads = torch.autograd.grad((out * pull).sum(), weights)
    return [out.detach(), *grads, *(buffer.clone() for buffer in norm.buffers())]


def test_values_gradients_and_running_statistics_are_the_usual_ones() -> None:
    layers, images = stage_layers(), torch.rand(B, 28, 28, dtype=torch.float64)
    ours, usual = (measure_stage(way, images, layers) for way in (first_stage, usual_stage))
    for mine, theirs in zip(ours, usual, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_equal_values_share_no_gradient_twice() -> None:
    layers = stage_layers()
    images = torch.zeros(B, 28, 28, dtype=torch.float64)
    images[:, 4:9, 5:12] = 0.5  # patches of one colour, whose four places tie
    ours, usual = (measure_stage(way, images, layers)[2] for way in (first_stage, usual_stage))
    torch.testing.assert_close(ours, usual)


def test_the_first_stage_under_autocast_rounds_and_no_more() -> None:
    layers, images = stage_layers(torch.float32), torch.rand(B, 28, 28)
    exact = measure_stage(first_stage, images, layers)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = first_stage(images, *layers)
    assert rounded.dtype == torch.bfloat16
    assert rounded.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(rounded.float(), exact[0], rtol=0.02, atol=0.05)


def test_without_running_statistics_the_first_stage_refuses() -> None:
    conv, _ = stage_layers()
    norm = nn.BatchNorm2d(C, track_running_stats=False).double()
    with pytest.raises(ValueError, match="running statistics"):
        first_stage(torch.rand(B, 28, 28).double(), conv, norm)


SHAPES = [(False, 3, 1, 1), (True, 4, 1, 0), (True, 4, 2, 1)]


@pytest.mark.parametrize(("transposed", "kernel", "stride", "pad"), SHAPES)
def test_the_weight_gradient_is_autograds(
    transposed: bool, kernel: int, stride: int, pad: int
) -> None:
    del transposed
    large = torch.randn(B, C, 8, 6, dtype=torch.float64)
    weight = torch.randn(7, C, kernel, kernel, dtype=torch.float64, requires_grad=True)
    out = F.conv2d(large, weight, stride=stride, padding=pad)
    grad = torch.randn_like(out)
    (expected,) = torch.autograd.grad(out, weight, grad)
    ours = weight_gradient(grad, large, like=weight, stride=stride, pad=pad)
    torch.testing.assert_close(ours, expected)


def run_layer(layer: nn.Module, x: Tensor, grad: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    out.backward(grad.to(out.dtype))
    weight = next(layer.parameters())
    assert x.grad is not None
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert weight.grad.stride() == weight.stride()
    return [out.detach(), x.grad, weight.grad]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("transposed", "kernel", "stride", "pad"), SHAPES)
def test_under_autocast_layers_are_torchs(
    transposed: bool, kernel: int, stride: int, pad: int, bias: bool
) -> None:
    kinds = (ProductTranspose2d, nn.ConvTranspose2d) if transposed else (ProductConv2d, nn.Conv2d)
    ours, torchs = (kind(C, 7, kernel, stride=stride, padding=pad, bias=bias) for kind in kinds)
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(B, C, 6, 4).contiguous(memory_format=torch.channels_last)
    grad = torch.randn_like(torchs(x))
    for mine, theirs in zip(run_layer(ours, x, grad), run_layer(torchs, x, grad), strict=True):
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=0.02, atol=0.05)
    assert torch.equal(ours(x), torchs(x))  # in float32 they are the same layers
