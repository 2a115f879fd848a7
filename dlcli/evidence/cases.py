"""What is to be estimated: a model, one image, and whatever is known of the truth.

`simulated_cases` draws models and images whose truth is known: in closed form, by adaptive
quadrature at one or two latent dimensions (`integrate_evidence`), or between the bounds of a
sandwich (`sandwich_truth`).

Shapes: `B` = 1 image, `n` cells of a quadrature, `q` nodes a cell, `D` latent dimensions, `M`
pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dlcli.engine.device import choose_device
from dlcli.engine.seed import generator
from dlcli.errors import RunFailed, UsageFault
from dlcli.evidence.annealing import Sandwich
from dlcli.evidence.config import SIMULATED, EvidenceConfig
from dlcli.evidence.estimators import Proposal, curvature, find_modes
from dlcli.evidence.models import (
    LatentModel,
    LinearGaussian,
    draw_pairs,
    log_likelihood,
    log_prior,
    random_decoder,
    random_linear_gaussian,
)

TruthKind = Literal["exact", "quadrature", "sandwich"]
MOST_QUADRATURE_DIMS = 2
WIDE_DIMS = 64
"""Latent dimensions from which the linear-Gaussian model is annealed in float32: twice as fast,
and its rounding (1e-3 nats of a chain's log-weight) is far below the weights' spread."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of log p(x) beforehand, nats.

    Args:
        log_p: log p(x), or the middle of a sandwich.
        kind: `exact`, `quadrature` (to 1e-6) or `sandwich` (of forward and reverse annealing).
        error: how far off it may be. Of a quadrature: four times the root of the accepted cells'
            squared disagreements with their parents, relative to the whole.
        kl_posterior_prior: KL(p(z | x) ‖ p(z)).
        log_rho: log E[w²]/E[w]² of the prior's weights; None where only KL ≤ log ρ is known.
    """

    log_p: float
    kind: TruthKind
    error: float
    kl_posterior_prior: float
    log_rho: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One image under one model.

    Args:
        model: in the precision in which latents are sampled by the thousand.
        precise: the same model for annealing and proposals, in float64 where that is affordable.
        x: (1, M).
        z: the latents that x was drawn from, (1, D), or None for a real image.
        truth: None where it is not known beforehand.
        proposal: an encoder's q(z | x); None stands for a Laplace proposal.
        name: a word for the image, such as `test-0`.
    """

    model: LatentModel
    precise: LatentModel
    x: Tensor
    z: Tensor | None = None
    truth: Truth | None = None
    proposal: Proposal | None = None
    name: str = SIMULATED

    @property
    def dim(self) -> int:
        """D."""
        return self.model.latent_dim

    @property
    def label(self) -> str:
        """What tells it from the others; see `label_of`."""
        return label_of(self.name, dim=self.dim)


def label_of(name: str, *, dim: int) -> str:
    """Tell an image from others in a few words: a real one has a name, a simulated one its D."""
    return f"D = {dim}" if name == SIMULATED else name


def simulated_cases(config: EvidenceConfig) -> Iterator[Case]:
    """Draw a fresh model and one image from it for each of `config.dims`."""
    for dim in config.dims:
        yield (
            _linear_case(config, dim)
            if config.model == "linear-gaussian"
            else _decoder_case(config, dim)
        )


def _linear_case(config: EvidenceConfig, dim: int) -> Case:
    stream = generator(config.compute.seed, "model", config.model, dim)
    model = random_linear_gaussian(
        dim, pixels=config.pixels, noise_variance=config.noise_variance, generator=stream
    )
    model = model.to(torch.float64, device=_device(config))
    z, x = draw_pairs(model, 1, generator=stream)
    truth = Truth(
        log_p=float(model.log_evidence(x)),
        kind="exact",
        error=0.0,
        kl_posterior_prior=float(model.kl_posterior_prior(x)),
        log_rho=float(model.log_rho(x)),
    )
    fast = model.to(torch.float32) if dim >= 10 else model
    precise: LinearGaussian = fast if dim >= WIDE_DIMS else model
    return Case(model=fast, precise=precise, x=x, z=z, truth=truth)


def _decoder_case(config: EvidenceConfig, dim: int) -> Case:
    def build(dtype: torch.dtype) -> LatentModel:
        return random_decoder(
            dim,
            generator=generator(config.compute.seed, "model", config.model, dim),
            hidden=(config.hidden,),
            pixels=config.pixels,
            logit_scale=config.logit_scale,
            dtype=dtype,
            device=_device(config),
        )

    model = build(torch.float32)
    z, x = draw_pairs(model, 1, generator=generator(config.compute.seed, "image", dim))
    truth = None
    if dim <= MOST_QUADRATURE_DIMS:
        stream = generator(config.compute.seed, "quadrature", dim)
        truth = integrate_evidence(build(torch.float64), x.double(), generator=stream)
    return Case(model=model, precise=model, x=x, z=z, truth=truth)


def _device(config: EvidenceConfig) -> torch.device:
    """Read `auto` as the CPU: these models are small, and float64 is wanted (mps has none)."""
    wanted = config.compute.device
    return torch.device("cpu") if wanted in ("auto", "mps") else choose_device(wanted)


def sandwich_truth(found: Sandwich) -> Truth | None:
    """Read a sandwich as the truth, if both its bounds may be trusted."""
    if "reject" in (found.lower.verdict, found.upper.verdict) or not math.isfinite(found.width):
        return None
    return Truth(
        log_p=found.middle,
        kind="sandwich",
        error=found.std_error,
        kl_posterior_prior=found.kl_posterior_prior,
        log_rho=None,
    )


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


def integrate_evidence(
    model: LatentModel, x: Tensor, *, generator: torch.Generator, tolerance: float = 1e-6
) -> Truth:
    """Integrate p(x) over one or two latent dimensions: ∫ N(z; 0, I) p(x | z) dz.

    A grid of square cells, each integrated by a Gauss–Legendre product rule, is halved wherever a
    cell and its children disagree, until the disagreements together are below the tolerance. Cells
    near the modes are halved down to the posterior's width first, so that no peak slips between the
    nodes.

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
        self.model, self.x = model, x
        self.nodes = torch.tensor(list(itertools.product(nodes, repeat=D)))  # (q, D) in [−1, 1]
        self.log_weights = torch.tensor(list(itertools.product(weights, repeat=D))).log().sum(1)
        self.corners = torch.tensor(list(itertools.product((-0.5, 0.5), repeat=D)))

    def evaluate(self, centers: Tensor, half: float) -> tuple[Tensor, Tensor]:
        """Return log p(x | z) and log (quadrature weight · N(z)) at the nodes: (n, q) each."""
        z = centers[:, None] + half * self.nodes  # (n, q, D)
        n, q, D = z.shape
        flat = z.reshape(n * q, 1, D).to(self.model.device, self.model.dtype)
        value = log_likelihood(self.model, self.x, flat).double().cpu().view(n, q)
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


def _refine(cells: _Cells, *, reach: float, width: float, tolerance: float) -> Truth:
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
            return _summarize(done, log_total=log_total, error=error)
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


def _summarize(done: list[tuple[Tensor, Tensor]], *, log_total: Tensor, error: float) -> Truth:
    value = torch.cat([part.flatten() for part, _ in done])
    measure = torch.cat([part.flatten() for _, part in done])
    log_evidence = float(log_total)
    posterior = (value + measure - log_total).exp()
    log_second = float((2 * value + measure).logsumexp(0))
    return Truth(
        log_p=log_evidence,
        kind="quadrature",
        kl_posterior_prior=float((posterior * value).sum()) - log_evidence,
        log_rho=log_second - 2 * log_evidence,
        error=error,
    )
