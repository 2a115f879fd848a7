"""Gradient norms of a stack: of its last feed-forward matrix, and layer by layer.

All norms are Frobenius norms, summed in float64. Shapes: B batch, T tokens, D features.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from dlcli.engine.seed import generator
from dlcli.layernorm.config import LnGradientsConfig, Placement, StackConfig
from dlcli.layernorm.results import EquationCheck, Lemma2Row, Lemmas, StepCheck
from dlcli.layernorm.stack import (
    EPSILON,
    LayerNorm,
    PostNorm,
    PreNorm,
    Probe,
    Stack,
    build_stack,
    draw_probe,
    require_finite,
)


@dataclass(frozen=True, kw_only=True)
class LayerNorms:
    """Gradient norms of one stack on one batch.

    Attributes:
        weights: of all parameters of layer 1 … L together.
        w2: of the second feed-forward matrix of layer 1 … L.
        hidden: of ∂loss/∂x_0 … ∂loss/∂x_L, so one more than there are layers.
        loss: nats per token.
    """

    weights: tuple[float, ...]
    w2: tuple[float, ...]
    hidden: tuple[float, ...]
    loss: float


def last_layer_norm(stack: Stack, probe: Probe) -> float:
    """Return the norm of ∂loss/∂W^{2,L}, the matrix of Xiong et al. 2020, Theorem 1.

    Only the last matrix asks for a gradient, so nothing below it is kept: memory does not grow with
    activations, and the cost is that of a forward pass.

    Raises:
        RunFailed: the stack or the gradient is not finite in its number format.
    """
    weight = stack.layer(stack.depth - 1).w2
    with _only(stack, weight):
        hidden = stack(probe.x)
        require_finite(hidden.detach(), what="The stack's output", dtype=probe.x.dtype)
        (gradient,) = torch.autograd.grad(probe.loss(hidden), weight)
    require_finite(gradient, what="The last layer's gradient", dtype=probe.x.dtype)
    return _norm(gradient)


def layer_norms(stack: Stack, x: Tensor, *, loss: Callable[[Tensor], Tensor]) -> LayerNorms:
    """Return the gradient norm of every layer's weights and of every hidden state.

    Args:
        stack: any placement.
        x: its input (B, T, D).
        loss: turns its output (B, T, D) into a scalar.

    Raises:
        RunFailed: something is not finite in its number format.
    """
    start = x.detach().requires_grad_()
    states = list(stack.states(start))
    value = loss(stack.finish(states[-1]))
    require_finite(value.detach(), what="The loss", dtype=x.dtype)
    groups = [list(stack.layer(index).parameters()) for index in range(stack.depth)]
    flat = [weight for group in groups for weight in group]
    gradients = torch.autograd.grad(value, [*states, *flat])
    hidden = tuple(_norm(g) for g in gradients[: len(states)])
    norms = {id(w): _norm(g) for w, g in zip(flat, gradients[len(states) :], strict=True)}
    result = LayerNorms(
        weights=tuple(_root([norms[id(w)] for w in group]) for group in groups),
        w2=tuple(norms[id(stack.layer(index).w2)] for index in range(stack.depth)),
        hidden=hidden,
        loss=value.item(),
    )
    everything = torch.tensor([*result.weights, *result.hidden])
    require_finite(everything, what="A layer's gradient", dtype=x.dtype)
    return result


@contextlib.contextmanager
def _only(stack: Stack, weight: nn.Parameter) -> Iterator[None]:
    kept = [(p, p.requires_grad) for p in stack.parameters()]
    for parameter, _ in kept:
        parameter.requires_grad_(parameter is weight)
    try:
        yield
    finally:
        for parameter, flag in kept:
            parameter.requires_grad_(flag)


def _norm(gradient: Tensor) -> float:
    total: Tensor = torch.linalg.vector_norm(gradient.cpu(), dtype=torch.float64)
    return total.item()


def _root(norms: list[float]) -> float:
    return math.hypot(*norms)


# -- The Jacobian of LayerNorm in closed form, and singular values by power iteration
# Shapes: N tokens, D features. Jacobians are written with the output first, J[i, j] = ∂out_i /
# ∂in_j, so the seed's product (1 + ∂A/∂x) ∂LN of row vectors reads J_LN (I + J_A) here.


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


# -- Lemmas 2 and 3 of Xiong et al. 2020: the size of the stream, and of LayerNorm's Jacobian
# Lemma 2: at initialisation E‖y‖² = 3d/2 for the sum that post-norm's second LayerNorm is given,
# and (1 + l/2) d ≤ E‖x_l‖² ≤ (1 + 3l/2) d with pre-norm. Lemma 3: ‖J_LN(x)‖₂ = O(√d / ‖x‖).

POST_NORM = 1.5
"""Lemma 2's E‖y‖² / d."""
SLACK = 0.1
"""Fraction by which a mean over 8 draws at d = 256 may miss the expectation: 5 deviations."""


@torch.no_grad()
def check_lemmas(config: LnGradientsConfig) -> Lemmas:
    """Measure both lemmas in the theorem's setting, whatever `--setting` says, in float64.

    Args:
        config: depth of the per-layer view, first width, seeds and tokens of the sweep.
    """
    sweep, depth = config.sweep, config.layers.depth
    width = sweep.widths[0]
    post, pre = torch.zeros(depth, dtype=torch.float64), torch.zeros(depth + 1, dtype=torch.float64)
    ratios: list[float] = []
    for index in range(sweep.seeds):
        for placement in ("post", "pre"):
            stack, x = _draw(placement, depth=depth, width=width, index=index, config=config)
            squares = torch.stack([_mean_square(y) for y in _sums(stack, x)])
            ratios += [ratio for y in _normalised(stack, x) for ratio in _extremes(y)]
            if placement == "post":
                post += squares[1:] / sweep.seeds
            else:
                pre += squares / sweep.seeds
    slack = min(0.5, SLACK * (256 / width * 8 / sweep.seeds) ** 0.5)
    rows = tuple(
        Lemma2Row(
            layer=i,
            post=float(post[i - 1]) if i else None,
            pre=float(pre[i]),
            pre_low=1 + i / 2,
            pre_high=1 + 3 * i / 2,
        )
        for i in range(depth + 1)
    )
    return Lemmas(
        width=width,
        rows=rows,
        lemma2_holds=all(_holds(row, slack=slack) for row in rows),
        lemma3_ratio=(min(ratios), max(ratios)),
    )


def _draw(
    placement: Placement, *, depth: int, width: int, index: int, config: LnGradientsConfig
) -> tuple[Stack, Tensor]:
    stream = generator(config.compute.seed, "ln-lemmas", index)
    stack = build_stack(
        placement,
        depth=depth,
        width=width,
        config=StackConfig(),
        generator=stream,
        dtype=torch.float64,
    )
    size = (config.sweep.batch_size, config.sweep.tokens, width)
    return stack, torch.randn(size, generator=stream).double()


def _sums(stack: Stack, x: Tensor) -> Iterator[Tensor]:
    """Yield the input, then what Lemma 2 speaks of in each layer."""
    yield x
    for index in range(stack.depth):
        attention, feedforward = stack.layer(index).sublayers()
        x = attention(x)
        if isinstance(feedforward, PostNorm):
            yield feedforward.combine(x, feedforward.sublayer(x))
            x = feedforward(x)
        else:
            x = feedforward(x)
            yield x


def _normalised(stack: Stack, x: Tensor) -> Iterator[Tensor]:
    """Yield every LayerNorm's input inside the layers."""
    for index in range(stack.depth):
        for step in stack.layer(index).sublayers():
            yield step.combine(x, step.sublayer(x)) if isinstance(step, PostNorm) else x
            x = step(x)


def _mean_square(y: Tensor) -> Tensor:
    return y.square().mean()


def _extremes(y: Tensor) -> tuple[float, float]:
    """Return the smallest and largest ‖J_LN‖₂ / (√d / ‖y‖) over tokens."""
    tokens = y.flatten(0, -2)
    ratio = closed_form_lambda(tokens) * tokens.norm(dim=-1) / tokens.size(-1) ** 0.5
    return float(ratio.min()), float(ratio.max())


def _holds(row: Lemma2Row, *, slack: float) -> bool:
    inside = row.pre_low * (1 - slack) <= row.pre <= row.pre_high * (1 + slack)
    return inside and (row.post is None or abs(row.post / POST_NORM - 1) <= slack)


# -- The seed's equations 21' and 22', checked with full Jacobians in float64
# Question 15 says that one post-norm step has the derivative (1 + ∂A/∂x) ∂LN (21') and one pre-norm
# step 1 + ∂LN ∂A (22'). Both are built here from the analytic Jacobian of LayerNorm and compared
# with autograd's derivative of the whole step. Question 16 then bounds the gradient by λ^(L-l-1);
# the bound that follows is ‖g_l‖ ≤ ‖g_L‖ Π σ_max(J_LN) σ_max(I + J_A), and both stand beside the
# truth. A "step" is one residual connection, so a stack of L layers has 2L of them.


@dataclass(frozen=True, kw_only=True)
class _Factor:
    """One step's derivative, from its parts."""

    difference: float
    bound: float
    dropped: float | None
    lambda_measured: float
    lambda_closed: float


def check_equation(placement: Placement, *, config: LnGradientsConfig) -> EquationCheck:
    """Compare autograd with 21' (`post`) or 22' (`pre`), step by step, and bound the gradients.

    Args:
        placement: `post` or `pre`.
        config: sizes, tolerance and seed.
    """
    exact, seed = config.exact, config.compute.seed
    stack = build_stack(
        placement,
        depth=exact.depth,
        width=exact.width,
        config=config.stack,
        generator=generator(seed, "ln-equations", "weights"),
        dtype=torch.float64,
    )
    stack.requires_grad_(False)
    probe = draw_probe(
        batch_size=1,
        tokens=exact.tokens,
        width=exact.width,
        classes=config.sweep.classes,
        generator=generator(seed, "ln-equations", "probe"),
        dtype=torch.float64,
    )
    states, gradients = _gradients(stack, probe)
    factors = [
        _factor(step, state, stream=generator(seed, "ln-equations", "power", index))
        for index, (step, state) in enumerate(zip(_steps(stack), states, strict=False))
    ]
    largest = max(factor.difference for factor in factors)
    return EquationCheck(
        equation="21'" if placement == "post" else "22'",
        placement=placement,
        largest_difference=largest,
        tolerance=exact.tolerance,
        holds=largest <= exact.tolerance,
        largest_lambda=max(factor.lambda_measured for factor in factors),
        steps=_rows(factors, gradients),
        final_gradient=gradients[-1],
    )


def _steps(stack: Stack) -> Iterator[nn.Module]:
    for index in range(stack.depth):
        yield from stack.layer(index).sublayers()


def _gradients(stack: Stack, probe: Probe) -> tuple[list[Tensor], list[float]]:
    """Return the input of every step, x_L last, and the true ‖∂loss/∂x‖ of each."""
    x = probe.x.clone().requires_grad_()
    states = [x]
    for step in _steps(stack):
        states.append(step(states[-1]))
    gradients = torch.autograd.grad(probe.loss(stack.finish(states[-1])), states)
    return [state.detach() for state in states], [float(g.norm()) for g in gradients]


def _factor(step: nn.Module, x: Tensor, *, stream: torch.Generator) -> _Factor:
    """Take one step's derivative apart at x (1, T, D)."""
    whole = full_jacobian(step, x)
    eye = torch.eye(x.numel(), dtype=x.dtype)
    if isinstance(step, PostNorm):
        y = step.combine(x, step.sublayer(x)).detach()[0]
        residual = cast("float", step.omega) * eye + full_jacobian(step.sublayer, x)
        norm, dropped = step.norm, spectral_norm(residual)
        product = _norm_jacobian(norm, y) @ residual
        bound = spectral_norm(_norm_jacobian(norm, y)) * dropped
    else:
        pre = cast("PreNorm", step)
        y, norm, dropped = x[0], pre.norm, None
        inner = full_jacobian(pre.sublayer, pre.norm(x).detach())
        product = eye + inner @ _norm_jacobian(norm, y)
        bound = spectral_norm(product)
    return _Factor(
        difference=float((whole - product).abs().max()),
        bound=bound,
        dropped=dropped,
        lambda_measured=float(power_iteration(norm, y, generator=stream).max()),
        lambda_closed=float((closed_form_lambda(y) * norm.gamma.abs().max()).max()),
    )


def _norm_jacobian(norm: LayerNorm, y: Tensor) -> Tensor:
    return block_diagonal(layernorm_jacobian(y, gamma=norm.gamma.detach()))


def _rows(factors: list[_Factor], gradients: list[float]) -> tuple[StepCheck, ...]:
    """Accumulate the bounds from the last step down to the first."""
    largest = max(factor.lambda_measured for factor in factors)
    count, last = len(factors), gradients[-1]
    rows, product, lambdas = [], last, last
    for index in reversed(range(count)):
        factor = factors[index]
        product *= factor.bound
        lambdas *= factor.lambda_measured
        rows.append(
            StepCheck(
                step=index,
                layer=index // 2 + 1,
                sublayer="attention" if index % 2 == 0 else "feed-forward",
                difference=factor.difference,
                lambda_measured=factor.lambda_measured,
                lambda_closed=factor.lambda_closed,
                dropped_factor=factor.dropped,
                gradient=gradients[index],
                seed_bound=last * largest ** (count - index - 1),
                lambda_product=lambdas,
                full_bound=product,
            )
        )
    return tuple(reversed(rows))
