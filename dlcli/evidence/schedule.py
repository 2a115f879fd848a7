"""A schedule of temperatures for annealing, chosen from a pilot run and then frozen.

Annealing from the prior to the posterior along p(z) p(x | z)^β over T temperatures gives
log-weights of variance about L² τ/T, and half that is lost on average: L = ∫ sd_β(log p(x | z)) dβ
is the path's thermodynamic length and τ the autocorrelation time of the moves. Spending equal
length on every step is optimal (Gelman & Meng 1998; Grosse, Maddison & Salakhutdinov 2013).

Shapes: `B` images, `D` latent dimensions, `P` pilot stages, `T` temperatures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.evidence.model import LatentModel
from dlcli.evidence.pilot import Pilot, run_pilot
from dlcli.evidence.reference import Reference, find_reference

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
