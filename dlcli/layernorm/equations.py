"""The seed's equations 21' and 22', checked with full Jacobians in float64.

Question 15 says that one post-norm step has the derivative (1 + ∂A/∂x) ∂LN (21') and one pre-norm
step 1 + ∂LN ∂A (22'). Both are built here from the analytic Jacobian of LayerNorm and compared with
autograd's derivative of the whole step. Question 16 then bounds the gradient by λ^(L-l-1); the
bound that follows is ‖g_l‖ ≤ ‖g_L‖ Π σ_max(J_LN) σ_max(I + J_A), and both stand beside the truth.
A "step" is one residual connection, so a stack of L layers has 2L of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from dlcli.engine.seed import generator
from dlcli.layernorm.config import LnGradientsConfig, Placement
from dlcli.layernorm.jacobian import (
    block_diagonal,
    closed_form_lambda,
    full_jacobian,
    layernorm_jacobian,
    power_iteration,
    spectral_norm,
)
from dlcli.layernorm.problem import Probe, draw_probe
from dlcli.layernorm.residual import LayerNorm, PostNorm, PreNorm
from dlcli.layernorm.results import EquationCheck, StepCheck
from dlcli.layernorm.stack import Stack, build_stack


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
