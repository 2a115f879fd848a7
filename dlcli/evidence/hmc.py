"""Hamiltonian Monte Carlo in the latents of p(z) p(x | z)^β, many chains and images at once.

The Hamiltonian is split (Shahbaba, Lan, Johnson & Neal 2014, "Split Hamiltonian Monte Carlo"): the
motion under the reference Gaussian is a rotation, solved exactly, and the decoder's departure from
it kicks the momentum before and after. A Metropolis step makes the move exact for any decoder; for
a Gaussian posterior nothing is left to reject. The plain leapfrog, with the same axes, needed 2 to
5 times the gradients at D = 200 for the same spread of annealing weights.

Shapes: `B` images, `K` chains an image, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.evidence.model import standard_normal
from dlcli.evidence.reference import Turned

JITTER = 0.2
"""Every chain's angle varies by this share either way, which breaks periodic orbits."""


@dataclass(frozen=True, eq=False)
class State:
    """Where the chains are, and what the decoder says there.

    Args:
        u: the latents in the reference's axes, (K, B, D).
        log_likelihood: log p(x | V u), (K, B).
        gradient: its gradient in u, (K, B, D).
    """

    u: Tensor
    log_likelihood: Tensor
    gradient: Tensor


def state_at(turned: Turned, x: Tensor, u: Tensor) -> State:
    """Evaluate the decoder at u, (K, B, D)."""
    return State(u, *turned.log_likelihood_and_gradient(x, u))


def transition(
    turned: Turned,
    x: Tensor,
    state: State,
    *,
    beta: float,
    angle: Tensor,
    steps: int,
    generator: torch.Generator,
) -> tuple[State, Tensor]:
    """Make one Metropolis-corrected move that leaves N(u; 0, I) p(x | V u)^β as it is.

    Args:
        turned: any model, in a reference's axes.
        x: (B, M).
        state: where the chains are.
        beta: inverse temperature, 0 to 1.
        angle: radians that a step turns the reference's motion by, (B, 1).
        steps: gradient evaluations of the move.
        generator: the only source of randomness.

    Returns:
        The new state, and the acceptance probabilities, (K, B).
    """
    K, B, _ = state.u.shape
    reference = turned.reference
    width = reference.widths(beta)
    center = beta * reference.slope * width.square()
    momentum = standard_normal(turned.model, tuple(state.u.shape), generator=generator)
    uniform = torch.rand(2, K, B, generator=generator, dtype=momentum.dtype).to(momentum.device)
    turn = angle * (1 - JITTER + 2 * JITTER * uniform[0, ..., None])  # (K, B, 1)
    cosine, sine, kick = turn.cos(), turn.sin(), turn * (beta * width)
    u, value, gradient = state.u, state.log_likelihood, state.gradient
    start = momentum.square().sum(-1)
    momentum = momentum.addcmul(kick, _residual(turned, u, gradient), value=0.5)
    for i in range(steps):
        offset = (u - center) / width
        u = torch.addcmul(center, width, (cosine * offset).addcmul_(sine, momentum))
        momentum = (cosine * momentum).addcmul_(sine, offset, value=-1)
        value, gradient = turned.log_likelihood_and_gradient(x, u)
        half = 0.5 if i == steps - 1 else 1.0
        momentum = momentum.addcmul_(kick, _residual(turned, u, gradient), value=half)
    energy = start - momentum.square().sum(-1) + (state.u + u).mul_(state.u - u).sum(-1)
    gain = 0.5 * energy + beta * (value - state.log_likelihood)
    probability = gain.exp().clamp_max(1.0).nan_to_num(0.0)
    taken = uniform[1] < probability
    moved = State(
        torch.where(taken[..., None], u, state.u),
        torch.where(taken, value, state.log_likelihood),
        torch.where(taken[..., None], gradient, state.gradient),
    )
    return moved, probability


def _residual(turned: Turned, u: Tensor, gradient: Tensor) -> Tensor:
    """Return the likelihood's gradient beyond the reference's slope − λu."""
    reference = turned.reference
    return torch.addcmul(gradient - reference.slope, reference.curvatures, u)
