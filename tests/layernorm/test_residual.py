from __future__ import annotations

import torch
from torch import nn

from dlcli.layernorm.stack import FeedForward, LayerNorm, PostNorm, PreNorm, ReZero, Xavier

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
