from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dlcli.layernorm.stack import FeedForward, SelfAttention, UniformAttention, Xavier


def init(law="gaussian", seed=0, dtype=torch.float32):
    return Xavier(law=law, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("law", ["gaussian", "uniform"])
def test_xavier_has_glorot_and_bengios_variance(law):
    weight = init(law).matrix(300, 500)
    assert weight.shape == (300, 500)
    assert weight.var().item() == pytest.approx(2 / 800, rel=0.02)
    if law == "uniform":
        assert weight.abs().max().item() <= math.sqrt(6 / 800)
    assert init(law).matrix(300, 500, gain=0.5).std().item() == pytest.approx(
        0.5 * math.sqrt(2 / 800), rel=0.02
    )


def test_the_same_generator_state_gives_the_same_weights_in_every_dtype():
    single, double = init().matrix(3, 5), init(dtype=torch.float64).matrix(3, 5)
    assert torch.equal(single.double(), double)


def test_uniform_attention_is_attention_with_zero_queries_and_keys():
    width = 5
    ours = UniformAttention(width, init=init())
    torchs = nn.MultiheadAttention(width, 1, bias=False, batch_first=True)
    with torch.no_grad():
        torchs.in_proj_weight.zero_()
        torchs.in_proj_weight[2 * width :] = ours.value
        torchs.out_proj.weight.copy_(torch.eye(width))
    x = torch.randn(3, 7, width)
    torch.testing.assert_close(ours(x), torchs(x, x, x, need_weights=False)[0])


def test_self_attention_matches_torch():
    ours = SelfAttention(6, heads=3, init=init("uniform"))
    torchs = nn.MultiheadAttention(6, 3, batch_first=True)
    torchs.load_state_dict(
        {
            "in_proj_weight": ours.in_proj_weight,
            "in_proj_bias": ours.in_proj_bias,
            "out_proj.weight": ours.out_proj_weight,
            "out_proj.bias": ours.out_proj_bias,
        }
    )
    x = torch.randn(2, 5, 6)
    torch.testing.assert_close(ours(x), torchs(x, x, x, need_weights=False)[0])


def test_gain_scales_values_and_output_but_neither_queries_nor_keys():
    plain = SelfAttention(4, heads=2, init=init())
    scaled = SelfAttention(4, heads=2, init=init(), gain=0.25)
    torch.testing.assert_close(scaled.in_proj_weight[:8], plain.in_proj_weight[:8])
    torch.testing.assert_close(scaled.in_proj_weight[8:], plain.in_proj_weight[8:] * 0.25)
    torch.testing.assert_close(scaled.out_proj_weight, plain.out_proj_weight * 0.25)


def test_feed_forward_halves_the_squared_norm():
    """E‖W2 ReLU(W1 x)‖² = ‖x‖² / 2 at Xavier's variance: the ½ in Lemma 2's 3d/2."""
    ours = FeedForward(400, hidden=400, init=init())
    x = torch.randn(1, 50, 400)
    assert (ours(x).square().sum() / x.square().sum()).item() == pytest.approx(0.5, rel=0.1)
