"""The networks: layers against torch's own, flows as densities, the VAE as a whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcli.engine.config import resolve
from dlcli.engine.seed import generator
from dlcli.errors import ConfigError
from dlcli.vae.config import VaeModelConfig, check_model
from dlcli.vae.likelihood import Bernoulli
from dlcli.vae.networks import (
    GREY_28,
    LOGVAR_RANGE,
    MOST_LOG_SCALE,
    VAE,
    ConvDecoder,
    ConvEncoder,
    Flow,
    MlpDecoder,
    build_model,
)


def test_the_encoder_pools_from_28_pixels_to_1() -> None:
    maps = ConvEncoder(shape=GREY_28, channels=(2, 3, 5, 7)).maps(torch.rand(4, 784))
    shapes = [tuple(m.shape) for m in maps]
    assert shapes == [(4, 2, 14, 14), (4, 3, 7, 7), (4, 5, 3, 3), (4, 7, 1, 1)]
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


@pytest.mark.parametrize(("channels", "side"), [((2, 3), 7), ((2, 3, 5), 3), ((2, 3, 5, 7), 1)])
def test_dense_layers_take_all_of_the_last_maps(channels: tuple[int, ...], side: int) -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(shape=GREY_28, channels=channels, dense=(6, 4)).eval()
    first = next(encoder.dense.parameters())
    assert first.shape == (6, channels[-1] * side * side)
    features = encoder(torch.rand(3, 784))
    assert features.shape == (3, encoder.features) == (3, 4)
    assert features.min() == 0, "a ReLU comes last"


def test_a_batch_of_one_image_is_normalised_as_in_evaluation() -> None:
    encoder = ConvEncoder(shape=GREY_28, channels=(2, 3), dense=(6,))
    maps = torch.rand(1, 3 * 7 * 7)
    for _ in range(3):
        encoder.dense(torch.rand(9, 3 * 7 * 7))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.testing.assert_close(encoder.train().dense(maps), encoder.eval().dense(maps))
    torch.testing.assert_close(encoder.state_dict(), before)


def test_without_norm_there_are_biases_and_no_statistics() -> None:
    encoder, decoder = (
        ConvEncoder(shape=GREY_28, channels=(2, 3, 5, 7), norm="none"),
        ConvDecoder(shape=GREY_28, latent_dim=3, channels=(2, 3, 5), norm="none"),
    )
    for part in (encoder, decoder):
        assert not list(part.buffers())
        assert all(
            m.bias is not None
            for m in part.modules()
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
        )


def test_frozen_norms_learn_scale_and_shift_and_keep_their_statistics() -> None:
    torch.manual_seed(0)
    trained = ConvEncoder(shape=GREY_28, channels=(2, 3), dense=(6,))
    trained(torch.rand(9, 784))
    frozen = ConvEncoder(shape=GREY_28, channels=(2, 3), dense=(6,), norm="frozen")
    frozen.load_state_dict(trained.state_dict())
    before = {name: value.clone() for name, value in frozen.named_buffers()}
    x = torch.rand(5, 784)
    features = frozen.train()(x)
    torch.testing.assert_close(features, trained.eval()(x))
    features.square().sum().backward()
    assert all(weight.grad is not None for weight in frozen.parameters())
    torch.testing.assert_close(dict(frozen.named_buffers()), before)


def test_the_decoder_takes_zeros_where_maps_are_missing() -> None:
    torch.manual_seed(0)
    decoder = ConvDecoder(shape=GREY_28, latent_dim=3, channels=(2, 3, 5), skipped=(7, 4)).eval()
    z, zeros = torch.randn(2, 3), [torch.zeros(2, 7, 14, 14), torch.zeros(2, 4, 7, 7)]
    maps = [torch.randn_like(m) for m in zeros]
    assert torch.equal(decoder(z), decoder(z, zeros))
    assert not torch.allclose(decoder(z), decoder(z, maps))


def make_flow(dims: int, *, layers: int = 4) -> Flow:
    """A flow far from the identity, in double precision."""
    torch.manual_seed(0)
    flow = Flow(dims, layers=layers, hidden=8).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return flow


def draws(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(0, "v"), dtype=torch.float64)


@pytest.mark.parametrize("dims", [2, 3, 5, 32])
def test_the_inverse_undoes_it(dims: int) -> None:
    flow, v = make_flow(dims), draws(7, 3, dims)
    z, _ = flow(v)
    assert not torch.allclose(z, v, atol=0.1)
    assert torch.allclose(flow.inverse(z)[1], flow(v)[1], atol=1e-10)
    assert torch.allclose(flow.inverse(z)[0], v, atol=1e-10)
    assert torch.allclose(flow(flow.inverse(v)[0])[0], v, atol=1e-10)


@pytest.mark.parametrize("dims", [2, 3, 6])
def test_the_determinant_is_that_of_its_jacobian(dims: int) -> None:
    flow = make_flow(dims)
    for v in draws(4, dims):
        jacobian = torch.autograd.functional.jacobian(lambda point: flow(point)[0], v)
        _, expected = torch.linalg.slogdet(jacobian)
        assert flow(v)[1].item() == pytest.approx(expected.item(), abs=1e-10)


@pytest.mark.parametrize("dims", [2, 5, 6])
@pytest.mark.parametrize("layers", [1, 4, 5])
def test_it_starts_as_the_identity(dims: int, layers: int) -> None:
    v, flow = draws(5, dims), Flow(dims, layers=layers, hidden=4).double()
    z, log_det = flow(v)
    assert torch.equal(z, v)
    assert torch.equal(flow.inverse(v)[0], v)
    assert not log_det.any()


def test_no_coupling_stretches_without_bound() -> None:
    flow = make_flow(4, layers=1)
    _, log_det = flow(1e6 * draws(9, 4))
    assert log_det.abs().max().item() <= 2 * MOST_LOG_SCALE
    assert log_det.isfinite().all()


def test_it_computes_in_full_precision_under_autocast() -> None:
    flow = make_flow(4).float()
    v = draws(9, 4).float()
    with torch.autocast("cpu", torch.bfloat16):
        z, log_det = flow(v.bfloat16())
        back, _ = flow.inverse(z)
    assert z.dtype == log_det.dtype == back.dtype == torch.float32
    assert torch.allclose(back, v.bfloat16().float(), atol=1e-4)


@pytest.mark.parametrize(("arch", "weights"), [("mlp", 571_324), ("conv", 186_305)])
def test_the_default_networks_have_the_sizes_that_are_documented(arch: str, weights: int) -> None:
    assert sum(parameter.numel() for parameter in build(arch=arch).parameters()) == weights


def test_the_decoder_mirrors_the_encoder() -> None:
    decoder = MlpDecoder(latent_dim=3, hidden=(7, 5), pixels=784)
    weights = [tuple(p.shape) for p in decoder.parameters() if p.dim() == 2]
    assert weights == [(5, 3), (7, 5), (784, 7)]


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
    (Bernoulli().nll_sum(logits, x) + mean.square().sum() + logvar.exp().sum()).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("enabled", [True, False])
def test_gradients_have_the_memory_order_of_their_weights(enabled: bool) -> None:
    vae, x = build(**VARIANTS[3]), pixels(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        logits, *_ = vae(x, noise(5, dims=3))
    Bernoulli().nll_sum(logits, x).backward()
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


@pytest.mark.parametrize(
    ("settings", "passes"), [(SMALL["mlp"], False), (SMALL["conv"], False), (VARIANTS[3], True)]
)
def test_only_a_skip_leads_the_image_past_the_latents(
    settings: dict[str, Any], passes: bool
) -> None:
    vae, eps = build(**settings).eval(), noise(5, dims=3)
    with torch.no_grad():
        vae.posterior.weight.zero_()
    assert torch.equal(vae(pixels(5), eps)[0], vae(1 - pixels(5), eps)[0]) is not passes


@pytest.mark.parametrize("settings", VARIANTS[:5])
def test_under_autocast_the_posterior_stays_float32(settings: dict[str, Any]) -> None:
    vae, x, eps = build(**settings), pixels(5), noise(5, dims=3)
    exact = vae(x, eps)
    with torch.autocast("cpu", torch.bfloat16):
        logits, mean, logvar = vae(x, eps)
    assert mean.dtype == logvar.dtype == torch.float32
    torch.testing.assert_close(logits.float(), exact[0].float(), rtol=0.1, atol=0.1)
    Bernoulli().nll_sum(logits, x).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.decoder.parameters())


def test_a_huge_logvar_gives_neither_infinity_nor_nan() -> None:
    vae = build(**SMALL["mlp"])
    with torch.no_grad():
        vae.posterior.bias.fill_(1e6)
    logits, _, logvar = vae(pixels(3), noise(3, dims=3))
    assert logvar.max().item() == LOGVAR_RANGE[1]
    assert logits.isfinite().all()
    assert logvar.exp().isfinite().all()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"arch": "mlp", "skip": True}, "--skip"),
        ({"arch": "mlp", "norm": "none"}, "--norm none"),
        ({"arch": "mlp", "hidden": ()}, "--hidden"),
        ({"arch": "mlp", "dense": (5,)}, "--dense"),
        ({"arch": "conv", "channels": (2, 3)}, "--channels has 2 sizes and needs 4"),
        ({"arch": "conv", "channels": (2,), "dense": (5,)}, "--channels has 1 size and needs 2"),
        ({"arch": "conv", "decoder_channels": (2, 3, 4, 5)}, "--decoder-channels"),
    ],
)
def test_settings_that_contradict_the_arch_are_refused(
    settings: dict[str, Any], named: str
) -> None:
    config = resolve(VaeModelConfig, [settings])
    with pytest.raises(ConfigError, match=named):
        check_model(config, GREY_28)
    with pytest.raises(ConfigError, match=named):
        build_model(config)
