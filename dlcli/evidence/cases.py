"""What is to be estimated: a model, one image, and whatever is known of the truth.

Shapes: `B` = 1 image, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dlcli.engine.device import choose_device
from dlcli.engine.seed import generator
from dlcli.evidence.bdmc import Sandwich
from dlcli.evidence.bernoulli import random_decoder
from dlcli.evidence.config import SIMULATED, EvidenceConfig
from dlcli.evidence.linear_gaussian import LinearGaussian, random_linear_gaussian
from dlcli.evidence.model import LatentModel, draw_pairs
from dlcli.evidence.proposal import Proposal
from dlcli.evidence.quadrature import Quadrature, integrate_evidence

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
        error: how far off it may be.
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
        proposal: an encoder's q(z | x); None asks for a Laplace proposal.
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
        truth = quadrature_truth(
            integrate_evidence(build(torch.float64), x.double(), generator=stream)
        )
    return Case(model=model, precise=model, x=x, z=z, truth=truth)


def _device(config: EvidenceConfig) -> torch.device:
    """Read `auto` as the CPU: these models are small, and float64 is wanted (mps has none)."""
    wanted = config.compute.device
    return torch.device("cpu") if wanted in ("auto", "mps") else choose_device(wanted)


def quadrature_truth(found: Quadrature) -> Truth:
    """Read a quadrature as the truth."""
    return Truth(
        log_p=found.log_evidence,
        kind="quadrature",
        error=found.error,
        kl_posterior_prior=found.kl_posterior_prior,
        log_rho=found.log_rho,
    )


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
