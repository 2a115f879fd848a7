"""Hamiltonian Monte Carlo in the latents of p(z) p(x | z)^β, and its schedule for annealing.

`choose_schedule` picks temperatures, moves and their size from a pilot run (`run_pilot`);
`transition` makes one move, of many chains and images at once, in the axes of a Gaussian picture
of each posterior (`Reference`).

Shapes: `B` images, `K` chains an image, `D` latent dimensions, `M` pixels, `P` pilot stages, `T`
temperatures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.errors import RunFailed
from dlcli.evidence.estimators import curvature, find_modes, rotate
from dlcli.evidence.models import (
    LatentModel,
    log_likelihood,
    log_likelihood_and_gradient,
    log_prior,
    standard_normal,
)

FEWEST_TEMPERATURES = 200
STEP_CHOICES = (1, 2, 4, 8)
LAST_RESORT = 8
"""Steps that are tried only where shorter moves are sticky."""
STICKY = 5.0
"""τ from which on longer moves are tried even where the last ones came out dearer."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """How to anneal, fixed before the chains start.

    Args:
        reference: the Gaussian in whose axes the chains move.
        betas: rising from 0 to 1, (T + 1,), float64.
        angles: radians a step turns at each temperature, (T + 1, B, 1).
        steps: gradient evaluations a move.
        length: the path's thermodynamic length L.
        inefficiency: τ, moves that one independent value of log p(x | z) costs.
        evaluations: decoder evaluations spent on pilots, an image.
    """

    reference: Reference
    betas: Tensor
    angles: Tensor
    steps: int
    length: float
    inefficiency: float
    evaluations: int

    @property
    def temperatures(self) -> int:
        """T, the number of moves."""
        return self.betas.shape[0] - 1

    @property
    def predicted_sd(self) -> float:
        """The standard deviation of a chain's log-weight that the pilot foresees, nats."""
        return self.length * math.sqrt(self.inefficiency / self.temperatures)

    def describe(self) -> dict[str, object]:
        """Return what a report says of the schedule."""
        return {
            "temperatures": self.temperatures,
            "steps": self.steps,
            "path_length": round(self.length, 3),
            "inefficiency": round(self.inefficiency, 3),
            "predicted_sd": round(self.predicted_sd, 4),
            "first_beta": float(self.betas[1]),
            "last_angle": round(float(self.angles[-1].mean()), 4),
        }


def choose_schedule(
    model: LatentModel,
    x: Tensor,
    *,
    generator: torch.Generator,
    temperatures: int = 0,
    target_sd: float = 0.33,
    most: int = 3000,
) -> Schedule:
    """Choose temperatures, moves and their size for a batch of images.

    Annealing from the prior to the posterior along p(z) p(x | z)^β over T temperatures gives
    log-weights of variance about L² τ/T, and half that is lost on average: L = ∫ sd_β(log p(x | z))
    dβ is the path's thermodynamic length and τ the autocorrelation time of the moves. Spending
    equal length on every step is optimal (Gelman & Meng 1998; Grosse, Maddison & Salakhutdinov
    2013).

    Args:
        model: any model.
        x: images, (B, M); they share the temperatures, not the angles.
        generator: the only source of randomness.
        temperatures: T, or 0 to choose it from `target_sd`.
        target_sd: the wanted standard deviation of a chain's log-weight, nats.
        most: an upper limit on a chosen T.

    Raises:
        RunFailed: the decoder returned NaN, or the pilot does not reach the posterior.
    """
    reference = find_reference(model, x, generator=generator)
    pilot, spent = _best_pilot(model, x, reference=reference, generator=generator)
    grid, arc = _arc_length(pilot)
    length = float(arc[-1])
    wanted = math.ceil(length**2 * pilot.inefficiency / target_sd**2)
    T = temperatures or min(most, max(FEWEST_TEMPERATURES, wanted))
    betas = interpolate(torch.linspace(0, length, T + 1, dtype=torch.float64), arc, grid)
    betas[0], betas[-1] = 0.0, 1.0
    return Schedule(
        reference=reference,
        betas=betas,
        angles=_angles(pilot, betas).to(model.device, model.dtype),
        steps=pilot.steps,
        length=length,
        inefficiency=pilot.inefficiency,
        evaluations=spent,
    )


def _best_pilot(
    model: LatentModel, x: Tensor, *, reference: Reference, generator: torch.Generator
) -> tuple[Pilot, int]:
    """Lengthen the moves while that makes an independent sample cheaper; count all pilots' cost.

    Sticky moves lag behind the path and make it look long, and of those that are stuck no price is
    known: one that comes out dearer ends the search only where the best is not sticky. Where no
    price is known at all, the longest moves are made.
    """
    best, lowest, spent, dearer = None, math.inf, 0, False
    for steps in STEP_CHOICES:
        if best is not None and best.inefficiency < STICKY and (dearer or steps == LAST_RESORT):
            break
        pilot = run_pilot(model, x, reference=reference, steps=steps, generator=generator)
        spent += pilot.evaluations
        length = float(_arc_length(pilot)[1][-1])
        price = math.inf if pilot.stuck else length**2 * pilot.inefficiency * steps
        dearer = price >= lowest
        if not dearer:
            best, lowest = pilot, price
    return best or pilot, spent


def interpolate(at: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Interpolate linearly between rising knots, (P,), at any points, (T,)."""
    right = torch.searchsorted(knots, at).clamp(1, knots.shape[0] - 1)
    left = right - 1
    share = ((at - knots[left]) / (knots[right] - knots[left])).clamp(0, 1)
    return values[left] + share * (values[right] - values[left])


def _angles(pilot: Pilot, betas: Tensor) -> Tensor:
    """Interpolate log angle over log β, since both change by powers: (T + 1, B, 1)."""
    floor = float(pilot.betas[1]) / 10
    at, knots = betas.clamp_min(floor).log(), pilot.betas.clamp_min(floor).log()
    logs = pilot.angles[..., 0].double().cpu().log()  # (P, B)
    columns = [interpolate(at, knots, logs[:, b]) for b in range(logs.shape[1])]
    return torch.stack(columns, 1).exp()[..., None]


def _arc_length(pilot: Pilot) -> tuple[Tensor, Tensor]:
    """Integrate the spread over a fine grid of β: the grid and the length up to each point."""
    betas = pilot.betas
    fine = torch.linspace(0, 1, 33, dtype=torch.float64)[:-1]
    grid = (betas[:-1, None] + fine * betas.diff()[:, None]).reshape(-1)
    grid = torch.cat([grid, betas[-1:]])
    # Spreads of neighbouring stages are noisy (32 chains): smooth their logarithms.
    logs = pilot.spreads.clamp_min(1e-12).log()
    padded = torch.cat([logs[:1], logs, logs[-1:]])
    smooth = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    density = interpolate(grid, betas, smooth).exp()
    arcs = 0.5 * (density[1:] + density[:-1]) * grid.diff()
    return grid, torch.cat([torch.zeros(1, dtype=torch.float64), arcs.cumsum(0)])


CHAINS = 32
MOVES = 4
STRIDE = 0.5
"""How far a stage moves β, in standard deviations of log p(x | z)."""
MOST_STAGES = 2000
ACCEPTANCE = 0.75
MOST_CORRELATION = 0.98
"""32 chains cannot resolve more; τ = 99."""


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

    They go in strides of half a standard deviation of log p(x | z), and the angle of their moves is
    tuned on the way. Nothing of theirs enters an estimate, so that the weights of the main run,
    which uses what they learnt, stay exactly unbiased.

    Raises:
        RunFailed: the decoder returned NaN, or 2,000 stages do not reach β = 1.
    """
    B, D = x.shape[0], model.latent_dim
    rotated = RotatedModel(model, reference)
    state = state_at(rotated, x, standard_normal(model, (CHAINS, B, D), generator=generator))
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
                rotated, x, state, beta=beta, angle=angle, steps=steps, generator=generator
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


def state_at(rotated: RotatedModel, x: Tensor, u: Tensor) -> State:
    """Evaluate the decoder at u, (K, B, D)."""
    return State(u, *rotated.log_likelihood_and_gradient(x, u))


def transition(
    rotated: RotatedModel,
    x: Tensor,
    state: State,
    *,
    beta: float,
    angle: Tensor,
    steps: int,
    generator: torch.Generator,
) -> tuple[State, Tensor]:
    """Make one Metropolis-corrected move that leaves N(u; 0, I) p(x | V u)^β as it is.

    The Hamiltonian is split (Shahbaba, Lan, Johnson & Neal 2014, "Split Hamiltonian Monte Carlo"):
    the motion under the reference Gaussian is a rotation, solved exactly, and the decoder's
    departure from it kicks the momentum before and after. A Metropolis step makes the move exact
    for any decoder; for a Gaussian posterior nothing is left to reject. The plain leapfrog, with
    the same axes, needed 2 to 5 times the gradients at D = 200 for the same spread of annealing
    weights.

    Args:
        rotated: any model, in a reference's axes.
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
    reference = rotated.reference
    width = reference.widths(beta)
    center = beta * reference.slope * width.square()
    momentum = standard_normal(rotated.model, tuple(state.u.shape), generator=generator)
    uniform = torch.rand(2, K, B, generator=generator, dtype=momentum.dtype).to(momentum.device)
    turn = angle * (1 - JITTER + 2 * JITTER * uniform[0, ..., None])  # (K, B, 1)
    cosine, sine, kick = turn.cos(), turn.sin(), turn * (beta * width)
    u, value, gradient = state.u, state.log_likelihood, state.gradient
    start = momentum.square().sum(-1)
    momentum = momentum.addcmul(kick, _residual(rotated, u, gradient), value=0.5)
    for i in range(steps):
        offset = (u - center) / width
        u = torch.addcmul(center, width, (cosine * offset).addcmul_(sine, momentum))
        momentum = (cosine * momentum).addcmul_(sine, offset, value=-1)
        value, gradient = rotated.log_likelihood_and_gradient(x, u)
        half = 0.5 if i == steps - 1 else 1.0
        momentum = momentum.addcmul_(kick, _residual(rotated, u, gradient), value=half)
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


def _residual(rotated: RotatedModel, u: Tensor, gradient: Tensor) -> Tensor:
    """Return the likelihood's gradient beyond the reference's slope − λu."""
    reference = rotated.reference
    return torch.addcmul(gradient - reference.slope, reference.curvatures, u)


@dataclass(frozen=True, eq=False)
class Reference:
    """log p(x | V u) ≈ const + slope·u − ½ Σ λ_i u_i²: a Gaussian picture of each posterior.

    At the posterior mode the likelihood is taken for a Gaussian with curvatures λ along orthogonal
    axes. In these axes the prior is unchanged and p(z) p(x | z)^β is nearly a Gaussian of precision
    1 + βλ_i along axis i, so its motion can be solved exactly and only the difference need be
    integrated in steps.

    Args:
        axes: orthonormal columns V, (B, D, D): z = V u.
        curvatures: λ ≥ 0, (B, D).
        slope: (B, D).
    """

    axes: Tensor
    curvatures: Tensor
    slope: Tensor

    def widths(self, beta: float) -> Tensor:
        """Return the standard deviations along the axes of N(u; 0, I) p(x | V u)^β: (B, D)."""
        return (1 + beta * self.curvatures).rsqrt()

    def to_axes(self, z: Tensor) -> Tensor:
        """Return u = Vᵀz: (K, B, D) → (K, B, D)."""
        return rotate(z, self.axes)

    def from_axes(self, u: Tensor) -> Tensor:
        """Return z = V u: (K, B, D) → (K, B, D)."""
        return rotate(u, self.axes.mT)


def find_reference(model: LatentModel, x: Tensor, *, generator: torch.Generator) -> Reference:
    """Fit the reference at the highest of three climbed modes of each image.

    Raises:
        RunFailed: the decoder returned NaN.
    """
    modes = find_modes(model, x, generator=generator, starts=3)
    height = log_likelihood(model, x, modes) + log_prior(modes)
    mode = modes[height.argmax(0), torch.arange(x.shape[0], device=model.device)]
    values, axes = torch.linalg.eigh(curvature(model, x, mode))
    curvatures = (values - 1).clamp_min(0)
    # At the mode the likelihood's gradient balances the prior's: slope − λ u = u.
    u = (mode.double()[:, None] @ axes)[:, 0]
    slope = u * (1 + curvatures)
    return Reference(axes.to(model.dtype), curvatures.to(model.dtype), slope.to(model.dtype))


@dataclass(frozen=True, eq=False)
class RotatedModel:
    """A model seen in a reference's axes: same prior, same evidence."""

    model: LatentModel
    reference: Reference

    def log_likelihood_and_gradient(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x | V u), (K, B), and its gradient in u, (K, B, D).

        Raises:
            RunFailed: the decoder returned NaN.
        """
        z = self.reference.from_axes(u)
        value, gradient = log_likelihood_and_gradient(self.model, x, z)
        return value, self.reference.to_axes(gradient)
