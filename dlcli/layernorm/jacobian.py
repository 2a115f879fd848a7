"""The Jacobian of LayerNorm in closed form, and singular values by power iteration.

Shapes: N tokens, D features. Jacobians are written with the output first, J[i, j] = ∂out_i / ∂in_j,
so the seed's product (1 + ∂A/∂x) ∂LN of row vectors reads J_LN (I + J_A) here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dlcli.layernorm.residual import EPSILON


def layernorm_jacobian(y: Tensor, *, gamma: Tensor | None = None) -> Tensor:
    """Return ∂LN(y)/∂y = diag(γ) / s · (I - 11ᵀ/D - ŷ ŷᵀ/D), with ŷ = (y - mean)/s.

    s = √(variance + ε) is the deviation that LayerNorm divides by.

    Args:
        y: (N, D).
        gamma: gain (D,), or None for ones.

    Returns:
        (N, D, D), one Jacobian per token.
    """
    D = y.size(-1)
    centred = y - y.mean(-1, keepdim=True)
    s = input_deviation(y)[..., None]
    unit = centred / s
    eye = torch.eye(D, dtype=y.dtype, device=y.device)
    inner = eye - 1 / D - unit[..., :, None] * unit[..., None, :] / D
    jacobian = inner / s[..., None]
    return jacobian if gamma is None else gamma[:, None] * jacobian


def input_deviation(y: Tensor) -> Tensor:
    """Return s(y) = √(variance + ε) of each token, (N, D) → (N,)."""
    return (y.var(-1, unbiased=False) + EPSILON).sqrt()


def closed_form_lambda(y: Tensor) -> Tensor:
    """Return σ_max(∂LN/∂y) = 1/s(y) of each token at γ = 1, (N, D) → (N,).

    The projection in the Jacobian leaves D - 2 directions untouched, so this needs D ≥ 3.
    """
    return 1 / input_deviation(y)


def power_iteration(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    generator: torch.Generator,
    iterations: int = 200,
    tolerance: float = 1e-13,
) -> Tensor:
    """Return the largest singular value of ∂function/∂x of each token, by autograd alone.

    Alternates J v and Jᵀ u from a random direction; the estimate rises to the truth from below.
    J v comes from reverse mode too, as the derivative of u ↦ Jᵀ u. Tokens must not mix in
    `function`.

    Args:
        function: maps (N, D) to (N, D), row by row.
        x: where to differentiate, (N, D).
        generator: draws the first direction.
        iterations: at most this many.
        tolerance: stop where no estimate changes by more than this fraction.

    Returns:
        (N,) singular values.
    """
    v = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    v = v / v.norm(dim=-1, keepdim=True)
    point = x.detach().requires_grad_()
    out = function(point)
    u = torch.zeros_like(out).requires_grad_()
    (adjoint,) = torch.autograd.grad(out, point, u, create_graph=True)  # Jᵀ u, linear in u
    sigma = x.new_zeros(x.size(0))
    for _ in range(iterations):
        (pushed,) = torch.autograd.grad(adjoint, u, v, retain_graph=True)
        previous, sigma = sigma, pushed.norm(dim=-1)
        if bool(((sigma - previous).abs() <= tolerance * sigma).all()):
            break
        (pulled,) = torch.autograd.grad(out, point, pushed, retain_graph=True)
        v = pulled / pulled.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    return sigma


def full_jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return ∂function/∂x by autograd as one matrix, (1, T, D) → (T·D, T·D).

    One copy of the sequence for every output number makes all rows one backward pass, so
    `function` must treat the sequences of a batch (B, T, D) separately.
    """
    _, T, D = x.size()
    n = T * D
    copies = x.detach().expand(n, T, D).clone().requires_grad_()
    wanted = torch.eye(n, dtype=x.dtype, device=x.device).view(n, T, D)
    (rows,) = torch.autograd.grad(function(copies), copies, wanted)
    return rows.reshape(n, n)


def block_diagonal(blocks: Tensor) -> Tensor:
    """Put per-token Jacobians (N, D, D) on the diagonal of one (N·D, N·D) matrix."""
    N, D, _ = blocks.size()
    out = blocks.new_zeros(N, D, N, D)
    tokens = torch.arange(N, device=blocks.device)
    out[tokens, :, tokens, :] = blocks
    return out.reshape(N * D, N * D)


def spectral_norm(matrix: Tensor) -> float:
    """Return the largest singular value of a matrix, exactly (by decomposition)."""
    return float(torch.linalg.matrix_norm(matrix, 2))
