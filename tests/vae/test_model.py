"""The VAE as a whole: shapes, gradients, precision, traps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dlcli.engine.config import resolve
from dlcli.errors import ConfigError
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.networks import LOGVAR_RANGE, VAE, build_model, check_model
from dlcli.vae.objective import bernoulli_nll_sum

SMALL = {
    "mlp": {"arch": "mlp", "latent_dim": 3, "hidden": (7, 5)},
    "conv": {
        "arch": "conv",
        "latent_dim": 3,
        "channels": (2, 3, 5, 7),
        "decoder_channels": (7, 5, 3),
    },
}
VARIANTS: list[dict[str, Any]] = [
    SMALL["mlp"],
    SMALL["conv"],
    {**SMALL["conv"], "norm": "none"},
    {**SMALL["conv"], "skip": True},
    {**SMALL["conv"], "channels": (2, 3), "dense": (6, 4)},
    {**SMALL["conv"], "latent_dim": 1, "channels": (1, 1, 1, 1), "decoder_channels": (1, 1, 1)},
]


def build(**settings: Any) -> VAE:
    torch.manual_seed(0)
    return build_model(VaeModelConfig(**settings))


def pixels(count: int) -> Tensor:
    return torch.rand(count, 784, generator=torch.Generator().manual_seed(1))


def noise(count: int, *, dims: int) -> Tensor:
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("settings", VARIANTS)
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("train", [True, False])
def test_shapes(settings: dict[str, Any], count: int, train: bool) -> None:
    vae = build(**settings).train(train)
    D = settings["latent_dim"]
    logits, mean, logvar = vae(pixels(count), noise(count, dims=D))
    assert logits.shape == (count, 784)
    assert mean.shape == logvar.shape == (count, D)
    assert vae.latent_dim == D
    assert vae.decode(mean).shape == (count, 784)


@pytest.mark.parametrize("settings", VARIANTS[:5])
def test_every_parameter_gets_a_gradient(settings: dict[str, Any]) -> None:
    vae, x = build(**settings), pixels(11)
    logits, mean, logvar = vae(x, noise(11, dims=3))
    (bernoulli_nll_sum(logits, x) + mean.square().sum() + logvar.exp().sum()).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("enabled", [True, False])
def test_gradients_have_the_memory_order_of_their_weights(enabled: bool) -> None:
    vae, x = build(**VARIANTS[3]), pixels(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        logits, *_ = vae(x, noise(5, dims=3))
    bernoulli_nll_sum(logits, x).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.is_contiguous(), name
        assert parameter.grad.is_contiguous(), name


@pytest.mark.parametrize(
    "settings", [SMALL["mlp"], SMALL["conv"], {**SMALL["conv"], "norm": "none"}]
)
def test_forward_is_decode_of_a_draw_from_encode(settings: dict[str, Any]) -> None:
    vae, x, eps = build(**settings).eval(), pixels(5), noise(5, dims=3)
    logits, mean, logvar = vae(x, eps)
    again, wide = vae.encode(x)
    torch.testing.assert_close((mean, logvar), (again, wide))
    torch.testing.assert_close(logits, vae.decode(mean + (logvar / 2).exp() * eps))


@pytest.mark.parametrize("arch", ["mlp", "conv"])
def test_images_of_a_batch_do_not_meet_in_evaluation(arch: str) -> None:
    vae, x, eps = build(**SMALL[arch]).eval(), pixels(5), noise(5, dims=3)
    whole = vae(x, eps)[0]
    for i in range(5):
        torch.testing.assert_close(vae(x[i : i + 1], eps[i : i + 1])[0], whole[i : i + 1])


@pytest.mark.parametrize("arch", ["mlp", "conv"])
def test_everything_the_decoder_knows_passes_the_latents(arch: str) -> None:
    vae, eps = build(**SMALL[arch]).eval(), noise(5, dims=3)
    with torch.no_grad():
        vae.posterior.weight.zero_()
    assert torch.equal(vae(pixels(5), eps)[0], vae(1 - pixels(5), eps)[0])


def test_a_skip_leads_the_image_past_the_latents() -> None:
    vae, eps = build(**VARIANTS[3]).eval(), noise(5, dims=3)
    with torch.no_grad():
        vae.posterior.weight.zero_()
    assert not torch.allclose(vae(pixels(5), eps)[0], vae(1 - pixels(5), eps)[0])


@pytest.mark.parametrize("settings", VARIANTS[:5])
def test_under_autocast_the_posterior_stays_float32(settings: dict[str, Any]) -> None:
    vae, x, eps = build(**settings), pixels(5), noise(5, dims=3)
    exact = vae(x, eps)
    with torch.autocast("cpu", torch.bfloat16):
        logits, mean, logvar = vae(x, eps)
    assert mean.dtype == logvar.dtype == torch.float32
    torch.testing.assert_close(logits.float(), exact[0].float(), rtol=0.1, atol=0.1)
    bernoulli_nll_sum(logits, x).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.decoder.parameters())


def test_works_in_float64() -> None:
    for settings in VARIANTS[:5]:
        vae = build(**settings).double()
        logits, mean, _ = vae(pixels(5).double(), noise(5, dims=3).double())
        assert logits.dtype == mean.dtype == torch.float64


def test_a_huge_logvar_gives_neither_infinity_nor_nan() -> None:
    vae = build(**SMALL["mlp"])
    with torch.no_grad():
        vae.posterior.bias.fill_(1e6)
    logits, _, logvar = vae(pixels(3), noise(3, dims=3))
    assert logvar.max().item() == LOGVAR_RANGE[1]
    assert logits.isfinite().all()
    assert logvar.exp().isfinite().all()


def test_the_seed_decides_the_weights() -> None:
    first, second = build(**SMALL["conv"]), build(**SMALL["conv"])
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not torch.equal(
        next(first.parameters()), next(build_model(VaeModelConfig(**SMALL["conv"])).parameters())
    )


def test_default_sizes() -> None:
    count = {
        arch: sum(p.numel() for p in build(arch=arch).parameters()) for arch in ("mlp", "conv")
    }
    assert count["mlp"] == 784 * 350 + 350 + 350 * 40 + 40 + 20 * 350 + 350 + 350 * 784 + 784
    assert 300_000 <= count["conv"] <= 500_000


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"arch": "mlp", "skip": True}, "--skip"),
        ({"arch": "mlp", "norm": "none"}, "--norm none"),
        ({"arch": "mlp", "hidden": ()}, "--hidden"),
        ({"arch": "mlp", "dense": (5,)}, "--dense"),
        ({"arch": "conv", "channels": (2, 3)}, "--channels has 2 sizes and needs 4"),
        ({"arch": "conv", "channels": (2,), "dense": (5,)}, "--channels has 1 sizes and needs 2"),
        ({"arch": "conv", "decoder_channels": (2, 3, 4, 5)}, "--decoder-channels"),
    ],
)
def test_settings_that_contradict_the_arch_are_refused(
    settings: dict[str, Any], named: str
) -> None:
    config = resolve(VaeModelConfig, [settings])
    with pytest.raises(ConfigError, match=named):
        check_model(config)
    with pytest.raises(ConfigError, match=named):
        build_model(config)


def test_can_be_exported_as_one_graph() -> None:
    vae = build(**SMALL["conv"]).eval()
    program = torch.export.export(vae, (pixels(2), noise(2, dims=3)))
    torch.testing.assert_close(
        program.module()(pixels(2), noise(2, dims=3)), vae(pixels(2), noise(2, dims=3))
    )
