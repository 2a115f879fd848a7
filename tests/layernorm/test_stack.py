from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dlcli.layernorm.config import SOURCES, StackConfig
from dlcli.layernorm.stack import PostNorm, build_stack, profile_admin

X = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(5))


def stack(placement, *, depth=3, width=8, seed=0, dtype=torch.float32, **config):
    return build_stack(
        placement,
        depth=depth,
        width=width,
        config=StackConfig(**config),
        generator=torch.Generator().manual_seed(seed),
        dtype=dtype,
    )


def torch_twin(ours):
    """PyTorch's own encoder layers with the weights of `ours`."""
    pre = ours.placement == "pre"
    layers = []
    for index in range(ours.depth):
        mine = ours.layer(index)
        a, f = mine.attention.sublayer, mine.feedforward.sublayer
        layer = nn.TransformerEncoderLayer(
            ours.width, a.heads, f.w1.size(0), dropout=0.0, batch_first=True, norm_first=pre
        )
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": a.in_proj_weight,
                "self_attn.in_proj_bias": a.in_proj_bias,
                "self_attn.out_proj.weight": a.out_proj_weight,
                "self_attn.out_proj.bias": a.out_proj_bias,
                "linear1.weight": f.w1,
                "linear1.bias": f.b1,
                "linear2.weight": f.w2,
                "linear2.bias": f.b2,
                "norm1.weight": mine.attention.norm.gamma,
                "norm1.bias": mine.attention.norm.beta,
                "norm2.weight": mine.feedforward.norm.gamma,
                "norm2.bias": mine.feedforward.norm.beta,
            }
        )
        layers.append(layer)
    final = [nn.LayerNorm(ours.width)] if pre else []
    return nn.Sequential(*layers, *final)


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_the_stack_is_torchs_encoder(placement):
    ours = stack(placement, regime="transformer")
    torch.testing.assert_close(ours(X), torch_twin(ours)(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("placement", list(SOURCES))
@pytest.mark.parametrize("regime", ["theorem", "transformer"])
@pytest.mark.parametrize("depth", [1, 3])
def test_states_are_the_stream_and_every_parameter_gets_a_gradient(placement, regime, depth):
    ours = stack(placement, depth=depth, regime=regime)
    states = list(ours.states(X))
    assert len(states) == depth + 1
    assert states[0] is X
    torch.testing.assert_close(ours.finish(states[-1]), ours(X))
    ours(X).square().sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_the_final_layernorm_follows_the_placement_unless_told():
    assert [stack(p).final_norm is not None for p in ("post", "pre", "sandwich", "dlcl")] == [
        False,
        True,
        True,
        True,
    ]
    assert stack("pre", final_norm="off").final_norm is None
    assert stack("post", final_norm="on").final_norm is not None


def test_gamma_scales_every_layernorm():
    ours = stack("pre", gamma=0.5)
    gains = [p for name, p in ours.named_parameters() if name.endswith("gamma")]
    assert len(gains) == 2 * 3 + 1
    assert all(bool((gain == 0.5).all()) for gain in gains)


def test_hidden_units_are_d_in_the_theorem_and_4d_in_the_transformer():
    assert stack("post").layer(0).w2.shape == (8, 8)
    assert stack("post", regime="transformer").layer(0).w2.shape == (8, 32)
    assert stack("post", feedforward=5).layer(0).w2.shape == (8, 5)


def test_deepnorm_has_deepnets_constants_for_an_encoder():
    plain, deep = stack("post"), stack("deepnorm")
    step = deep.layer(0).feedforward
    assert step.omega == pytest.approx((2 * 3) ** 0.25)
    beta = (8 * 3) ** -0.25
    torch.testing.assert_close(deep.layer(0).w2, plain.layer(0).w2 * beta)


def test_rezero_is_the_identity_at_initialisation():
    assert torch.equal(stack("rezero", depth=9)(X), X)


def test_dlcl_mixes_the_average_of_all_earlier_outputs():
    ours = stack("dlcl", depth=2, final_norm="off")
    y1 = ours.history.norms[0](ours.layers[0](X))
    x1 = (X + y1) / 2
    y2 = ours.history.norms[1](ours.layers[1](x1))
    torch.testing.assert_close(ours(X), (X + y1 + y2) / 3)


def test_admin_profiles_its_omega():
    ours, plain = stack("admin", dtype=torch.float64), stack("post", dtype=torch.float64)
    x = X.double()
    profile_admin(ours, x)
    total, state = 1.0, x
    for index in range(3):
        pairs = zip(ours.layer(index).sublayers(), plain.layer(index).sublayers(), strict=True)
        for mine, post in pairs:
            assert isinstance(mine, PostNorm)
            torch.testing.assert_close(
                mine.omega, torch.full((8,), math.sqrt(total), dtype=torch.float64)
            )
            total += post.sublayer(state).var().item()
            state = post(state)


def test_profiling_leaves_other_placements_alone():
    ours, again = stack("post"), stack("post")
    profile_admin(ours, X)
    for a, b in zip(ours.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_placements_of_one_generator_state_share_weights():
    assert torch.equal(stack("post").layer(2).w2, stack("dlcl").layer(2).w2)
    assert not torch.equal(stack("post").layer(2).w2, stack("post", seed=1).layer(2).w2)
