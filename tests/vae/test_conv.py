"""The convolutional networks of Question 11 against torch's own layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.vae.networks import ConvDecoder, ConvEncoder, ConvStage, FoldedTranspose, FromOnePixel


def assert_equal_to_torch(layer: nn.ConvTranspose2d, x: Tensor) -> None:
    """Compare outputs and all gradients with `nn.ConvTranspose2d` on the same parameters."""
    x = x.requires_grad_()
    inputs = [x, *layer.parameters()]
    ours = layer(x)
    theirs = nn.ConvTranspose2d.forward(layer, x)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for a, b in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((theirs * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_from_one_pixel_is_a_transposed_convolution(bias: bool) -> None:
    torch.manual_seed(0)
    assert_equal_to_torch(FromOnePixel(5, 3, 4, bias=bias), torch.randn(7, 5, 1, 1))


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 1), (3, 2)])
def test_folded_transpose_is_a_transposed_convolution(inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    assert_equal_to_torch(FoldedTranspose(inputs, outputs), torch.randn(3, inputs, 5, 7))


def test_folded_transpose_takes_channels_last_maps() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 5, 7, 7).contiguous(memory_format=torch.channels_last)
    assert_equal_to_torch(FoldedTranspose(5, 1), maps)


@pytest.mark.parametrize("train", [True, False])
def test_a_stage_is_convolution_normalisation_relu_and_pooling(train: bool) -> None:
    torch.manual_seed(0)
    stage = ConvStage(3, 5, norm="batch").train(train)
    assert isinstance(stage.norm, nn.BatchNorm2d)
    nn.init.normal_(stage.norm.weight)  # of both signs
    nn.init.normal_(stage.norm.bias)
    x = torch.randn(2, 3, 7, 7)
    expected = F.max_pool2d(F.relu(stage.norm(stage.conv(x))), 2)
    torch.testing.assert_close(stage(x), expected)


def test_the_encoder_pools_from_28_pixels_to_1() -> None:
    encoder = ConvEncoder(channels=(2, 3, 5, 7))
    sides = []
    maps = torch.rand(3, 1, 28, 28)
    for stage in encoder.stages:
        maps = stage(maps)
        sides.append(maps.shape[-1])
    features, skipped = encoder(torch.rand(3, 784))
    assert sides == [14, 7, 3, 1]
    assert features.shape == (3, 7)
    assert [tuple(m.shape) for m in skipped] == [(3, 2, 14, 14), (3, 3, 7, 7)]


@pytest.mark.parametrize(("channels", "side"), [((2, 3), 7), ((2, 3, 5), 3), ((2, 3, 5, 7), 1)])
def test_dense_layers_take_all_of_the_last_maps(channels: tuple[int, ...], side: int) -> None:
    encoder = ConvEncoder(channels=channels, dense=(6, 4)).eval()
    first = next(encoder.dense.parameters())
    assert first.shape == (6, channels[-1] * side * side)
    features, skipped = encoder(torch.rand(3, 784))
    assert features.shape == (3, encoder.features) == (3, 4)
    assert len(skipped) == 2
    assert features.min() == 0, "a ReLU comes last"


def test_each_dense_layer_is_normalised_over_the_batch() -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(channels=(2, 3), dense=(6,)).train()
    linear, norm, _ = encoder.dense
    units = norm(linear(torch.rand(50, 3 * 7 * 7)))
    torch.testing.assert_close(units.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    assert not list(ConvEncoder(channels=(2, 3), dense=(6,), norm="none").dense[1].parameters())


def test_a_batch_of_one_image_is_normalised_as_in_evaluation() -> None:
    encoder = ConvEncoder(channels=(2, 3), dense=(6,))
    maps = torch.rand(1, 3 * 7 * 7)
    for _ in range(3):
        encoder.dense(torch.rand(9, 3 * 7 * 7))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.testing.assert_close(encoder.train().dense(maps), encoder.eval().dense(maps))
    torch.testing.assert_close(encoder.state_dict(), before)


def test_without_dense_layers_nothing_is_added() -> None:
    names = ConvEncoder(channels=(2, 3, 5, 7)).state_dict().keys()
    names |= ConvDecoder(latent_dim=3, channels=(5, 4, 2)).state_dict().keys()
    assert not [name for name in names if "dense" in name]


def test_pixels_are_read_in_rows() -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(channels=(2, 3, 5, 7)).eval()
    x = torch.rand(3, 784)
    maps = x.view(3, 1, 28, 28)
    for stage in encoder.stages:
        maps = stage(maps)
    torch.testing.assert_close(encoder(x)[0], maps.flatten(1))


def test_maps_stay_channels_last() -> None:
    encoder = ConvEncoder(channels=(2, 3, 5, 7))
    _, skipped = encoder(torch.rand(4, 784))
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in skipped)


def test_without_norm_there_are_biases_and_no_statistics() -> None:
    encoder, decoder = (
        ConvEncoder(channels=(2, 3, 5, 7), norm="none"),
        ConvDecoder(latent_dim=3, channels=(2, 3, 5), norm="none"),
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
    trained = ConvEncoder(channels=(2, 3), dense=(6,))
    trained(torch.rand(9, 784))
    frozen = ConvEncoder(channels=(2, 3), dense=(6,), norm="frozen")
    frozen.load_state_dict(trained.state_dict())
    before = {name: value.clone() for name, value in frozen.named_buffers()}
    x = torch.rand(5, 784)
    features, _ = frozen.train()(x)
    torch.testing.assert_close(features, trained.eval()(x)[0])
    features.square().sum().backward()
    assert all(weight.grad is not None for weight in frozen.parameters())
    torch.testing.assert_close(dict(frozen.named_buffers()), before)


def test_the_decoder_takes_zeros_where_maps_are_missing() -> None:
    torch.manual_seed(0)
    decoder = ConvDecoder(latent_dim=3, channels=(2, 3, 5), skipped=(7, 4)).eval()
    z, zeros = torch.randn(2, 3), [torch.zeros(2, 7, 14, 14), torch.zeros(2, 4, 7, 7)]
    maps = [torch.randn_like(m) for m in zeros]
    assert torch.equal(decoder(z), decoder(z, zeros))
    assert not torch.allclose(decoder(z), decoder(z, maps))
