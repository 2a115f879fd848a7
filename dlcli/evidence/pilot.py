"""A pilot run of annealing: how long is the path, how far do moves carry, how large may they be?

A few chains anneal in strides of half a standard deviation of log p(x | z), tuning the angle of
their moves on the way. Nothing of theirs enters an estimate, so that the weights of the main run,
which uses what they learnt, stay exactly unbiased.

Shapes: `B` images, `D` latent dimensions, `P` pilot stages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.errors import RunFailed
from dlcli.evidence.hmc import State, state_at, transition
from dlcli.evidence.model import LatentModel, standard_normal
from dlcli.evidence.reference import Reference, Turned

CHAINS = 32
MOVES = 4
STRIDE = 0.5
"""How far a stage moves β, in standard deviations of log p(x | z)."""
MOST_STAGES = 2000
ACCEPTANCE = 0.75
MOST_CORRELATION = 0.98
"""No more can be told by 32 chains; τ = 99."""


@dataclass(frozen=True, eq=False)
class Pilot:
    """What the pilot run saw at its stages.

    Args:
        steps: gradient evaluations a move.
        betas: (P,), rising from 0 to 1, float64.
        spreads: sd of log p(x | z) over chains, the root mean square over images, (P,).
        angles: radians a step turns, tuned to 75% acceptance, (P, B, 1).
        correlation: of log p(x | z) before and after a move, averaged over the path.
        evaluations: decoder evaluations spent an image.
    """

    steps: int
    betas: Tensor
    spreads: Tensor
    angles: Tensor
    correlation: float
    evaluations: int

    @property
    def stuck(self) -> bool:
        """Whether the chains hardly moved, and all that can be said of τ is that it is long."""
        return self.correlation >= MOST_CORRELATION

    @property
    def inefficiency(self) -> float:
        """τ = (1 + r)/(1 − r): moves that one independent sample costs."""
        return (1 + self.correlation) / (1 - self.correlation)


def run_pilot(
    model: LatentModel,
    x: Tensor,
    *,
    reference: Reference,
    steps: int,
    generator: torch.Generator,
) -> Pilot:
    """Anneal a few chains from the prior to the posterior.

    Raises:
        RunFailed: the decoder returned NaN, or 2,000 stages do not reach β = 1.
    """
    B, D = x.shape[0], model.latent_dim
    turned = Turned(model, reference)
    state = state_at(turned, x, standard_normal(model, (CHAINS, B, D), generator=generator))
    # A trajectory longer than a quarter of a period comes back towards where it started.
    longest = 0.5 * math.pi / steps
    angle = torch.full((B, 1), longest, dtype=model.dtype, device=model.device)
    betas, spreads, angles, correlations = [0.0], [_spread(state)], [angle], []
    while betas[-1] < 1.0:
        if len(betas) > MOST_STAGES:
            raise _stuck(model, beta=betas[-1])
        beta = min(1.0, betas[-1] + STRIDE / max(spreads[-1], 1e-12))
        for _ in range(MOVES):
            before = state.log_likelihood
            state, accepted = transition(
                turned, x, state, beta=beta, angle=angle, steps=steps, generator=generator
            )
            angle = angle * torch.exp(0.5 * (accepted.mean(0)[:, None] - ACCEPTANCE))
            angle = angle.clamp_max(longest)
        betas.append(beta)
        spreads.append(_spread(state))
        angles.append(angle)
        correlations.append(_correlation(before, state.log_likelihood))
    return Pilot(
        steps=steps,
        betas=torch.tensor(betas, dtype=torch.float64),
        spreads=torch.tensor(spreads, dtype=torch.float64),
        angles=torch.stack(angles),
        correlation=min(MOST_CORRELATION, max(0.0, sum(correlations) / len(correlations))),
        evaluations=CHAINS * (1 + (len(betas) - 1) * MOVES * steps),
    )


def _stuck(model: LatentModel, *, beta: float) -> RunFailed:
    return RunFailed(
        f"The annealing pilot of '{model.name}' is at β = {beta:.3g} after {MOST_STAGES} stages.",
        hint="The likelihood is too peaked to anneal; use another estimator.",
    )


def _spread(state: State) -> float:
    return float(state.log_likelihood.double().var(0).mean().sqrt())


def _correlation(before: Tensor, after: Tensor) -> float:
    a, b = before - before.mean(0), after - after.mean(0)
    size = (a.square().sum(0) * b.square().sum(0)).sqrt().clamp_min(1e-30)
    return float(((a * b).sum(0) / size).mean())
