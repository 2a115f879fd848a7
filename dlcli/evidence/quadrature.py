"""The truth at one or two latent dimensions: adaptive quadrature of ∫ N(z; 0, I) p(x | z) dz.

A grid of square cells, each integrated by a Gauss–Legendre product rule, is halved wherever a cell
and its children disagree, until the disagreements together are below the tolerance. Cells near the
modes are halved down to the posterior's width first, so that no peak slips between the nodes.

Shapes: `n` cells, `q` nodes a cell, `D` latent dimensions (1 or 2), `M` pixels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dlcli.errors import RunFailed, UsageFault
from dlcli.evidence.laplace import curvature, find_modes
from dlcli.evidence.model import LatentModel, log_likelihood, log_prior

ORDER = 4
"""Gauss–Legendre nodes along each side of a cell."""
ROOT_CELLS = 32
"""Cells along each side of the box before any is halved."""
SPAN = 8.0
"""The box reaches this far beyond the origin and the modes (the prior's mass outside is 1e-15)."""
DEEPEST = 24
SAFETY = 4.0
"""Standard errors that the tolerance covers. What is left are the kinks of ReLU networks, where the
rule errs up or down with where the kink falls: the cells' disagreements add like random numbers."""


@dataclass(frozen=True)
class Quadrature:
    """Exact quantities of one image, to within `error`.

    Args:
        log_evidence: log p(x), nats.
        kl_posterior_prior: KL(p(z | x) ‖ p(z)), nats.
        log_rho: log E[w²]/E[w]² of the prior's weights w = p(x | z).
        error: four times the root of the accepted cells' squared disagreements with their parents,
            relative to the whole: nats.
        evaluations: of the decoder.
    """

    log_evidence: float
    kl_posterior_prior: float
    log_rho: float
    error: float
    evaluations: int


def integrate_evidence(
    model: LatentModel, x: Tensor, *, generator: torch.Generator, tolerance: float = 1e-6
) -> Quadrature:
    """Integrate p(x) over one or two latent dimensions.

    Args:
        model: of float64 precision where `tolerance` is to be reached.
        x: one image, (1, M).
        generator: draws the starting points of the search for modes.
        tolerance: on log p(x), nats.

    Raises:
        UsageFault: more than two latent dimensions, or several images.
        RunFailed: the decoder returned NaN, or the tolerance is out of reach.
    """
    D = model.latent_dim
    if D > 2 or x.shape[0] != 1:
        raise UsageFault(
            f"Quadrature integrates one image over 1 or 2 latents, not {x.shape[0]} over {D}.",
            hint="Use `ais` or `bdmc` for more latent dimensions.",
        )
    modes = find_modes(model, x, generator=generator)[:, 0]
    sharpest = torch.stack([torch.linalg.eigvalsh(curvature(model, x, m[None]))[0] for m in modes])
    width = float(sharpest.max().rsqrt())
    reach = SPAN + float(modes.abs().max())
    return _refine(_Cells(model, x), reach=reach, width=width, tolerance=tolerance)


class _Cells:
    """Evaluates log N(z) p(x | z) on the nodes of many cells."""

    def __init__(self, model: LatentModel, x: Tensor) -> None:
        nodes, weights = np.polynomial.legendre.leggauss(ORDER)
        D = model.latent_dim
        self.model, self.x, self.evaluations = model, x, 0
        self.nodes = torch.tensor(list(itertools.product(nodes, repeat=D)))  # (q, D) in [−1, 1]
        self.log_weights = torch.tensor(list(itertools.product(weights, repeat=D))).log().sum(1)
        self.corners = torch.tensor(list(itertools.product((-0.5, 0.5), repeat=D)))

    def evaluate(self, centers: Tensor, half: float) -> tuple[Tensor, Tensor]:
        """Return log p(x | z) and log (quadrature weight · N(z)) at the nodes: (n, q) each."""
        z = centers[:, None] + half * self.nodes  # (n, q, D)
        n, q, D = z.shape
        flat = z.reshape(n * q, 1, D).to(self.model.device, self.model.dtype)
        value = log_likelihood(self.model, self.x, flat).double().cpu().view(n, q)
        self.evaluations += n * q
        return value, log_prior(z) + self.log_weights + D * math.log(half)

    def roots(self, reach: float) -> tuple[Tensor, float]:
        """Return the centres, (n, D), and the half-width of the cells that tile the box."""
        half = reach / ROOT_CELLS
        side = torch.linspace(-reach + half, reach - half, ROOT_CELLS, dtype=torch.float64)
        axes = [side] * self.model.latent_dim
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2), half

    def children(self, centers: Tensor, half: float) -> Tensor:
        """Return the centres of the halved cells, (n · 2^D, D), siblings together."""
        return (centers[:, None] + half * self.corners).flatten(0, 1)


def _refine(cells: _Cells, *, reach: float, width: float, tolerance: float) -> Quadrature:
    centers, half = cells.roots(reach)
    value, measure = cells.evaluate(centers, half)
    log_parent = (value + measure).logsumexp(1)  # (n,)
    done: list[tuple[Tensor, Tensor]] = []
    log_done, squares = torch.tensor(-math.inf, dtype=torch.float64), 0.0
    for _ in range(DEEPEST):
        value, measure = cells.evaluate(cells.children(centers, half), half / 2)
        log_cell = (value + measure).logsumexp(1).view(len(centers), -1)  # (n, 2^D)
        log_children = log_cell.logsumexp(1)
        log_total = torch.logaddexp(log_done, log_children.logsumexp(0))
        gap = ((log_parent - log_total).exp() - (log_children - log_total).exp()).abs()
        wide = (log_children > log_total - 40) & (half > width)
        budget = 0.5 * ((tolerance / SAFETY) ** 2 - squares)
        split = wide | ~_affordable(gap.square(), budget=budget)
        kept = ~split.repeat_interleave(log_cell.shape[1])
        done.append((value[kept], measure[kept]))
        log_done = torch.logaddexp(log_done, log_children[~split].logsumexp(0))
        squares += float(gap[~split].square().sum())
        if not bool(split.any()):
            error = SAFETY * math.sqrt(squares)
            return _summarize(done, log_total=log_total, error=error, cells=cells)
        centers = cells.children(centers, half)[~kept]
        log_parent, half = log_cell[split].flatten(), half / 2
    raise RunFailed(
        f"The quadrature of '{cells.model.name}' does not settle to {tolerance:g} nats.",
        hint="A decoder in float32 cannot be integrated this finely: use float64.",
    )


def _affordable(costs: Tensor, *, budget: float) -> Tensor:
    """Mark the cells with the smallest costs, as many as add up to the budget."""
    order = costs.argsort()
    affordable = torch.empty(costs.shape, dtype=torch.bool)
    affordable[order] = costs[order].cumsum(0) <= budget
    return affordable


def _summarize(
    done: list[tuple[Tensor, Tensor]], *, log_total: Tensor, error: float, cells: _Cells
) -> Quadrature:
    value = torch.cat([part.flatten() for part, _ in done])
    measure = torch.cat([part.flatten() for _, part in done])
    log_evidence = float(log_total)
    posterior = (value + measure - log_total).exp()
    log_second = float((2 * value + measure).logsumexp(0))
    return Quadrature(
        log_evidence=log_evidence,
        kl_posterior_prior=float((posterior * value).sum()) - log_evidence,
        log_rho=log_second - 2 * log_evidence,
        error=error,
        evaluations=cells.evaluations,
    )
