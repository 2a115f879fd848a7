"""Residual stacks against PyTorch's own layers, and each placement against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dlcli.layernorm.config import SOURCES
from dlcli.layernorm.stack import (
    FeedForward,
    PostNorm,
    PreNorm,
    ReZero,
    SelfAttention,
    UniformAttention,
    Xavier,
    profile_admin,
)
from tests.layernorm.tiny import seeded, stack, torch_twin

INIT = Xavier(law="gaussian", generator=seeded(), dtype=torch.float64)
X = torch.randn(2, 3, 5, generator=seeded(1), dtype=torch.float64)
A = FeedForward(5, hidden=7, init=INIT)
NORM = INIT.layer_norm(5)


def test_a_layernorm_starts_at_gamma():
    torch.testing.assert_close(NORM(X), nn.LayerNorm(5, dtype=torch.float64)(X))
    torch.testing.assert_close(INIT.layer_norm(5, gamma=2.5)(X), 2.5 * NORM(X))


@pytest.mark.parametrize(
    ("step", "formula"),
    [
        (PostNorm(A, norm=NORM), lambda x: NORM(x + A(x))),
        (PostNorm(A, norm=NORM, omega=3.0), lambda x: NORM(3 * x + A(x))),
        (PostNorm(A, norm=NORM, omega=INIT.constant(5, 3.0)), lambda x: NORM(3 * x + A(x))),
        (PreNorm(A, norm=NORM), lambda x: x + A(NORM(x))),
        (PreNorm(A, norm=NORM, outer=NORM), lambda x: x + NORM(A(NORM(x)))),
        (ReZero(A, init=INIT), lambda x: x),
    ],
    ids=["equation 21", "deepnorm", "admin", "equation 22", "sandwich", "rezero"],
)
def test_every_residual_connection_is_its_formula(step, formula):
    torch.testing.assert_close(step(X), formula(X))


def test_rezero_learns_its_scale_and_admin_its_vector():
    step = ReZero(A, init=INIT)
    step(X).sum().backward()
    torch.testing.assert_close(step.scale.grad, A(X).sum().detach()[None])
    vector = INIT.constant(5, 3.0)
    assert any(p is vector for p in PostNorm(A, norm=NORM, omega=vector).parameters())


STACK_X = torch.randn(2, 3, 8, generator=seeded(5))


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


def test_the_final_layernorm_follows_the_placement_by_default():
    with_one = [p for p in SOURCES if stack(p).final_norm is not None]
    assert with_one == ["pre", "sandwich", "dlcl"]
    assert stack("pre", final_norm="off").final_norm is None
    assert stack("post", final_norm="on").final_norm is not None


def test_gamma_scales_every_layernorm():
    ours = stack("pre", gamma=0.5)
    norms = [module for module in ours.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 2 * 3 + 1
    assert all(bool((norm.weight == 0.5).all()) for norm in norms)


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
    for mine, post in zip(ours.steps(), plain.steps(), strict=True):
        expected = torch.full((8,), math.sqrt(total), dtype=torch.float64)
        torch.testing.assert_close(mine.omega, expected)
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
    return Xavier(law=law, generator=seeded(seed), dtype=dtype)


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
