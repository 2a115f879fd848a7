""""""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dlcli.errors import RunFailed
from dlcli.layernorm.config import SOURCES, StackConfig
from dlcli.layernorm.stack import (
    FeedForward,
    LayerNorm,
    PostNorm,
    PreNorm,
    ReZero,
    SelfAttention,
    UniformAttention,
    Xavier,
    build_stack,
    draw_probe,
    profile_admin,
    require_finite,
)


def probe(dtype=torch.float32, seed=0):
    return draw_probe(
        batch_size=3,
        tokens=5,
        width=7,
        classes=11,
        generator=torch.Generator().manual_seed(seed),
        dtype=dtype,
    )


def test_shapes_and_ranges():
    p = probe()
    assert p.x.shape == (3, 5, 7)
    assert p.readout.shape == (11, 7)
    assert not p.readout.requires_grad
    assert p.targets.shape == (3, 5)
    assert 0 <= p.targets.min() <= p.targets.max() < 11


def test_loss_is_the_mean_over_tokens():
    p = probe(torch.float64)
    assert p.loss(torch.zeros(3, 5, 7, dtype=torch.float64)).item() == pytest.approx(math.log(11))
    logits = p.x @ p.readout.T
    by_hand = -torch.log_softmax(logits, -1).gather(-1, p.targets[..., None]).mean()
    torch.testing.assert_close(p.loss(p.x), by_hand)


def test_half_precision_computes_its_loss_in_float32():
    assert probe(torch.float16).loss(probe(torch.float16).x).dtype == torch.float32


def test_the_generator_decides():
    assert torch.equal(probe().x, probe().x)
    assert not torch.equal(probe().x, probe(seed=1).x)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_overflow_names_the_number_format(bad):
    with pytest.raises(RunFailed, match="overflowed in float16"):
        require_finite(bad, what="It", dtype=torch.float16)
    require_finite(1.0, what="It", dtype=torch.float16)


INIT = Xavier(law="gaussian", generator=torch.Generator().manual_seed(0), dtype=torch.float64)
X = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
A = FeedForward(5, hidden=7, init=INIT)


def norm(gamma=1.0):
    return LayerNorm(5, init=INIT, gamma=gamma)


def test_layernorm_matches_torch_and_starts_at_gamma():
    torch.testing.assert_close(norm()(X), nn.LayerNorm(5, dtype=torch.float64)(X))
    torch.testing.assert_close(norm(2.5)(X), 2.5 * norm()(X))


def test_post_norm_is_the_seeds_equation_21():
    torch.testing.assert_close(PostNorm(A, norm=norm())(X), norm()(X + A(X)))


def test_omega_scales_the_skip_path_alone():
    torch.testing.assert_close(PostNorm(A, norm=norm(), omega=3.0)(X), norm()(3 * X + A(X)))
    vector = INIT.constant(5, 3.0)
    torch.testing.assert_close(PostNorm(A, norm=norm(), omega=vector)(X), norm()(3 * X + A(X)))
    assert any(p is vector for p in PostNorm(A, norm=norm(), omega=vector).parameters())


def test_pre_norm_is_the_seeds_equation_22():
    torch.testing.assert_close(PreNorm(A, norm=norm())(X), X + A(norm()(X)))


def test_sandwich_normalises_the_update_too():
    torch.testing.assert_close(PreNorm(A, norm=norm(), outer=norm())(X), X + norm()(A(norm()(X))))


def test_rezero_starts_as_the_identity_and_learns_its_scale():
    step = ReZero(A, init=INIT)
    torch.testing.assert_close(step(X), X)
    step(X).sum().backward()
    assert step.scale.grad is not None
    assert step.scale.grad.item() == float(A(X).sum().detach()) or torch.isclose(
        step.scale.grad, A(X).sum().detach()
    )


STACK_X = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(5))


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
    torch.testing.assert_close(ours(STACK_X), torch_twin(ours)(STACK_X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("placement", list(SOURCES))
@pytest.mark.parametrize("regime", ["theorem", "transformer"])
@pytest.mark.parametrize("depth", [1, 3])
def test_states_are_the_stream_and_every_parameter_gets_a_gradient(placement, regime, depth):
    ours = stack(placement, depth=depth, regime=regime)
    states = list(ours.states(STACK_X))
    assert len(states) == depth + 1
    assert states[0] is STACK_X
    torch.testing.assert_close(ours.finish(states[-1]), ours(STACK_X))
    ours(STACK_X).square().sum().backward()
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
    assert torch.equal(stack("rezero", depth=9)(STACK_X), STACK_X)


def test_dlcl_mixes_the_average_of_all_earlier_outputs():
    ours = stack("dlcl", depth=2, final_norm="off")
    y1 = ours.history.norms[0](ours.layers[0](STACK_X))
    x1 = (STACK_X + y1) / 2
    y2 = ours.history.norms[1](ours.layers[1](x1))
    torch.testing.assert_close(ours(STACK_X), (STACK_X + y1 + y2) / 3)


def test_admin_profiles_its_omega():
    ours, plain = stack("admin", dtype=torch.float64), stack("post", dtype=torch.float64)
    x = STACK_X.double()
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
    profile_admin(ours, STACK_X)
    for a, b in zip(ours.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_placements_of_one_generator_state_share_weights():
    assert torch.equal(stack("post").layer(2).w2, stack("dlcl").layer(2).w2)
    assert not torch.equal(stack("post").layer(2).w2, stack("post", seed=1).layer(2).w2)


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
