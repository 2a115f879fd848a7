"""The assignment's equations 21' and 22', and Lemmas 2 and 3 of Xiong et al., in float64.

Question 15 says that one post-norm step has the derivative (1 + ∂A/∂x) ∂LN (21') and one pre-norm
step 1 + ∂LN ∂A (22'). `check_equation` builds both from the analytic Jacobian of LayerNorm and
compares them with autograd's derivative of the whole step. Question 16 then bounds the gradient by
λ^(L-l-1); the bound that follows is ‖g_l‖ ≤ ‖g_L‖ Π σ_max(J_LN) σ_max(I + J_A), and both stand
beside the truth. A "step" is one residual connection, so a stack of L layers has 2L of them.

`check_lemmas` measures the size of the stream and of LayerNorm's Jacobian. Lemma 2: at
initialisation E‖y‖² = 3d/2 for the sum that post-norm's second LayerNorm is given, and
(1 + l/2) d ≤ E‖x_l‖² ≤ (1 + 3l/2) d with pre-norm. Lemma 3: ‖J_LN(x)‖₂ = O(√d / ‖x‖).

Shapes: B batch, T tokens, N rows of tokens, D features. Jacobians are written with the output
first, J[i, j] = ∂out_i / ∂in_j, so the assignment's product (1 + ∂A/∂x) ∂LN of row vectors reads
J_LN (I + J_A) here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from dlcli.engine.seed import generator
from dlcli.layernorm.config import LnGradientsConfig, Placement, StackConfig
from dlcli.layernorm.gradients import Probe, draw_probe
from dlcli.layernorm.stack import PostNorm, PreNorm, Residual, Stack, build_stack

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class StepCheck:
    """One residual connection: its derivative checked, its factors, and the bounds at its input.

    Attributes:
        step: 0 … 2L - 1 from the input.
        layer: 1 … L.
        sublayer: attention or feed-forward.
        difference: largest difference between autograd's Jacobian and the equation's.
        lambda_measured: σ_max of the LayerNorm's Jacobian by power iteration, largest over tokens.
        lambda_closed: the same as γ / s(y).
        dropped_factor: σ_max(I + J_A), which Question 16 leaves out; None for pre-norm.
        gradient: the true ‖∂loss/∂x‖ at the step's input.
        seed_bound: ‖g_L‖ λ^(N-s-1) for step s of N, λ the largest of the stack.
        lambda_product: ‖g_L‖ times each step's own λ: all N - s factors.
        full_bound: ‖g_L‖ times σ_max(J_LN) σ_max(I + J_A) of each step from here on (post), or
            σ_max(I + J_A J_LN) (pre).
    """

    step: int
    layer: int
    sublayer: str
    difference: float
    lambda_measured: float
    lambda_closed: float
    dropped_factor: float | None
    gradient: float
    seed_bound: float
    lambda_product: float
    full_bound: float


@dataclass(frozen=True, kw_only=True)
class EquationCheck:
    """Equation 21' or 22' held against autograd over a whole stack."""

    equation: Literal["21'", "22'"]
    placement: str
    largest_difference: float
    tolerance: float
    holds: bool
    largest_lambda: float
    final_gradient: float
    """‖∂loss/∂x_L‖ at the stack's output."""
    steps: tuple[StepCheck, ...]


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
        for index, (step, state) in enumerate(zip(stack.steps(), states, strict=False))
    ]
    largest = max(factor.difference for factor in factors)
    return EquationCheck(
        equation="21'" if placement == "post" else "22'",
        placement=placement,
        largest_difference=largest,
        tolerance=exact.tolerance,
        holds=largest <= exact.tolerance,
        largest_lambda=max(factor.lambda_measured for factor in factors),
        steps=_step_checks(factors, gradients),
        final_gradient=gradients[-1],
    )


def _gradients(stack: Stack, probe: Probe) -> tuple[list[Tensor], list[float]]:
    """Return the input of every step, x_L last, and the true ‖∂loss/∂x‖ of each."""
    states = [probe.x.clone().requires_grad_()]
    for step in stack.steps():
        states.append(step(states[-1]))
    gradients = torch.autograd.grad(probe.loss(stack.finish(states[-1])), states)
    return [state.detach() for state in states], [float(g.norm()) for g in gradients]


@dataclass(frozen=True, kw_only=True)
class _Factor:
    """One step's derivative, from its parts."""

    difference: float
    bound: float
    dropped: float | None
    lambda_measured: float
    lambda_closed: float


def _factor(step: Residual, x: Tensor, *, stream: torch.Generator) -> _Factor:
    """Take one step's derivative apart at x (1, T, D)."""
    whole = full_jacobian(step, x)
    eye = torch.eye(x.numel(), dtype=x.dtype)
    if isinstance(step, PostNorm):
        y, norm = step.combine(x).detach()[0], step.norm
        residual = cast("float", step.omega) * eye + full_jacobian(step.sublayer, x)
        jacobian, dropped = _norm_jacobian(norm, y), spectral_norm(residual)
        product = jacobian @ residual
        bound = spectral_norm(jacobian) * dropped
    else:
        assert isinstance(step, PreNorm)
        y, norm, dropped = x[0], step.norm, None
        inner = full_jacobian(step.sublayer, norm(x).detach())
        product = eye + inner @ _norm_jacobian(norm, y)
        bound = spectral_norm(product)
    return _Factor(
        difference=float((whole - product).abs().max()),
        bound=bound,
        dropped=dropped,
        lambda_measured=float(power_iteration(norm, y, generator=stream).max()),
        lambda_closed=float((closed_form_lambda(y) * norm.weight.abs().max()).max()),
    )


def _norm_jacobian(norm: nn.LayerNorm, y: Tensor) -> Tensor:
    blocks = layernorm_jacobian(y, gamma=norm.weight.detach())
    return cast("Tensor", torch.block_diag(*blocks))  # type: ignore[no-untyped-call]


def _step_checks(factors: list[_Factor], gradients: list[float]) -> tuple[StepCheck, ...]:
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
    s = _deviation(y)[..., None]
    unit = centred / s
    eye = torch.eye(D, dtype=y.dtype, device=y.device)
    inner = eye - 1 / D - unit[..., :, None] * unit[..., None, :] / D
    jacobian = inner / s[..., None]
    return jacobian if gamma is None else gamma[:, None] * jacobian


def closed_form_lambda(y: Tensor) -> Tensor:
    """Return σ_max(∂LN/∂y) = 1/s(y) of each token at γ = 1, (N, D) → (N,).

    The projection in the Jacobian leaves D - 2 directions untouched, so this needs D ≥ 3.
    """
    return 1 / _deviation(y)


def _deviation(y: Tensor) -> Tensor:
    """Return s(y) = √(variance + ε) of each token, (N, D) → (N,); ε is PyTorch's default."""
    return (y.var(-1, unbiased=False) + 1e-5).sqrt()


def power_iteration(
    function: Map,
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


def full_jacobian(function: Map, x: Tensor) -> Tensor:
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


def spectral_norm(matrix: Tensor) -> float:
    """Return the largest singular value of a matrix, exactly (by decomposition)."""
    return float(torch.linalg.matrix_norm(matrix, 2))


POST_NORM = 1.5
"""Lemma 2's E‖y‖² / d."""
SLACK = 0.1
"""Fraction by which a mean over 8 draws at d = 256 may miss the expectation: 5 deviations."""


@dataclass(frozen=True, kw_only=True)
class Lemma2Row:
    """Mean squared norm of the stream over d, after one layer.

    Attributes:
        layer: 0 is the input.
        post: E‖y‖² / d of the sum that the feed-forward LayerNorm is given; the lemma says 3/2
            (None at layer 0).
        pre: E‖x_l‖² / d; the lemma says between `pre_low` and `pre_high`.
        pre_low: 1 + l/2.
        pre_high: 1 + 3l/2.
    """

    layer: int
    post: float | None
    pre: float
    pre_low: float
    pre_high: float

    def holds(self, *, slack: float) -> bool:
        """Say whether Lemma 2 holds here, but for a fraction `slack`."""
        inside = self.pre_low * (1 - slack) <= self.pre <= self.pre_high * (1 + slack)
        return inside and (self.post is None or abs(self.post / POST_NORM - 1) <= slack)


@dataclass(frozen=True, kw_only=True)
class Lemmas:
    """Lemmas 2 and 3 of Xiong et al. 2020, in the theorem's setting.

    Attributes:
        width: features d.
        rows: Lemma 2, layer by layer, means over tokens and seeds.
        lemma2_holds: post at 3/2 and pre between its bounds everywhere, but for a slack of
            10% at d = 256 and 8 seeds, growing as their product shrinks.
        lemma3_ratio: smallest and largest ‖J_LN(x)‖₂ / (√d / ‖x‖) over all tokens and LayerNorms.
            It is √(1 + mean²/variance) (less a trace of ε), so 1 for centred input.
    """

    width: int
    rows: tuple[Lemma2Row, ...]
    lemma2_holds: bool
    lemma3_ratio: tuple[float, float]


@torch.no_grad()
def check_lemmas(config: LnGradientsConfig) -> Lemmas:
    """Measure both lemmas in the theorem's setting, whatever `--setting` says, in float64.

    Args:
        config: depth of the per-layer view, first width, seeds and tokens of the sweep.
    """
    sweep, depth, width = config.sweep, config.layers.depth, config.sweep.widths[0]
    zero = torch.zeros(depth + 1, dtype=torch.float64)
    means: dict[Placement, Tensor] = {"post": zero, "pre": zero}
    ratios: list[float] = []
    for index in range(sweep.seeds):
        for placement in means:
            squares, found = _stream_sizes(placement, index=index, config=config)
            means[placement] = means[placement] + squares / sweep.seeds
            ratios += found
    slack = min(0.5, SLACK * (256 / width * 8 / sweep.seeds) ** 0.5)
    rows = tuple(
        Lemma2Row(
            layer=i,
            post=float(means["post"][i]) if i else None,
            pre=float(means["pre"][i]),
            pre_low=1 + i / 2,
            pre_high=1 + 3 * i / 2,
        )
        for i in range(depth + 1)
    )
    return Lemmas(
        width=width,
        rows=rows,
        lemma2_holds=all(row.holds(slack=slack) for row in rows),
        lemma3_ratio=(min(ratios), max(ratios)),
    )


def _stream_sizes(
    placement: Placement, *, index: int, config: LnGradientsConfig
) -> tuple[Tensor, list[float]]:
    """Measure one stack of the theorem's setting.

    Returns:
        The mean square of the input and of what Lemma 2 speaks of in each layer, and the ratios of
        Lemma 3 at every LayerNorm.
    """
    sweep, width = config.sweep, config.sweep.widths[0]
    stream = generator(config.compute.seed, "ln-lemmas", index)
    stack = build_stack(
        placement,
        depth=config.layers.depth,
        width=width,
        config=StackConfig(),
        generator=stream,
        dtype=torch.float64,
    )
    x = torch.randn((sweep.batch_size, sweep.tokens, width), generator=stream).double()
    squares, ratios = [x.square().mean()], []
    for index, step in enumerate(stack.steps()):
        y = step.combine(x) if isinstance(step, PostNorm) else x  # the LayerNorm's input
        tokens = y.flatten(0, -2)
        ratio = closed_form_lambda(tokens) * tokens.norm(dim=-1) / width**0.5
        ratios += [float(ratio.min()), float(ratio.max())]
        x = step(x)
        if index % 2 == 1:
            squares.append((y if isinstance(step, PostNorm) else x).square().mean())
    return torch.stack(squares), ratios
