"""Cases with an exact truth on which intervals and verdicts are calibrated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.engine.seed import generator
from dlcli.evidence.annealing import anneal
from dlcli.evidence.cases import integrate_evidence
from dlcli.evidence.diagnostics import Estimate, assess, summarize
from dlcli.evidence.estimators import (
    DiagonalGaussian,
    importance_weights,
    laplace_proposal,
    prior_weights,
    quasi_weights,
)
from dlcli.evidence.hmc import choose_schedule
from dlcli.evidence.models import (
    LatentModel,
    LinearGaussian,
    draw_pairs,
    random_decoder,
    random_linear_gaussian,
)

KINDS = ("prior", "prior", "laplace", "encoder", "encoder", "ais", "control")


@dataclass(frozen=True)
class Calibrated:
    kind: str
    dim: int
    samples: int
    estimate: Estimate
    truth: float
    log_ratio: float | None
    """log N/ρ where ρ is exact."""

    @property
    def error_in_se(self) -> float:
        return abs(self.estimate.log_p - self.truth) / max(self.estimate.std_error, 1e-12)


def linear_case(seed: int, *names: object, dim: int, pixels: int = 784, noise: float = 0.1):
    stream = generator(seed, "case", dim, *names)
    model = random_linear_gaussian(dim, pixels=pixels, noise_variance=noise, generator=stream)
    z, x = draw_pairs(model, 1, generator=stream)
    return model, x, z


def misfit(model: LinearGaussian, x: Tensor, *, stream: torch.Generator) -> DiagonalGaussian:
    """An encoder that is somewhat off: shifted by part of a standard deviation, 0.7–1.6 as wide."""
    mean, covariance = model.posterior(x)
    sd = covariance.diagonal().sqrt().expand_as(mean)
    shift = 0.5 * torch.randn(mean.shape, generator=stream, dtype=torch.float64)
    stretch = 0.7 + 0.9 * torch.rand((), generator=stream, dtype=torch.float64)
    return DiagonalGaussian(mean + shift * sd, 2 * (stretch * sd).log())


def log_rho_of(model: LinearGaussian, x: Tensor, q: DiagonalGaussian) -> float:
    """log E_q[w²]/E_q[w]² of w = p(x, z)/q(z), a Gaussian integral; inf where it diverges."""
    mean, covariance = model.posterior(x)
    precision = torch.linalg.inv(covariance)
    own = torch.diag(torch.exp(-q.logvar[0]))
    both = 2 * precision - own
    values = torch.linalg.eigvalsh(both)
    if float(values.min()) <= 0:
        return math.inf
    pull = 2 * precision @ mean[0] - own @ q.mean[0]
    exponent = pull @ torch.linalg.solve(both, pull)
    exponent = exponent - 2 * mean[0] @ precision @ mean[0] + q.mean[0] @ own @ q.mean[0]
    logs = 2 * torch.logdet(precision) - torch.logdet(own) - torch.logdet(both)
    return float(0.5 * (exponent + logs))


def mixed_cases(count: int, *, largest: int = 100_000) -> Iterator[Calibrated]:
    """`count` cases over dimension, model, estimator and sample count."""
    for seed in range(count):
        stream = generator(seed, "mixed")

        def pick(options: tuple, stream: torch.Generator = stream):
            return options[int(torch.randint(len(options), (), generator=stream))]

        kind = pick(KINDS)
        samples = min(pick((10, 100, 1000, 10_000, 100_000)), largest)
        if pick((True, False, False, False)) and kind != "encoder":
            yield _decoder(seed, kind, dim=pick((1, 2)), samples=min(samples, 10_000))
        else:
            dim = pick((1, 2, 2, 3, 5, 8, 20, 60))
            shape = {"pixels": pick((20, 100, 784)), "noise": pick((0.1, 1.0, 10.0))}
            yield _linear(seed, kind, dim=dim, samples=samples, **shape)


def _linear(
    seed: int, kind: str, *, dim: int, samples: int, pixels: int, noise: float
) -> Calibrated:
    model, x, _ = linear_case(seed, dim=dim, pixels=pixels, noise=noise)
    truth, log_ratio = float(model.log_evidence(x)), None
    if kind == "encoder":
        q = misfit(model, x, stream=generator(seed, "misfit"))
        log_ratio = math.log(samples) - log_rho_of(model, x, q)
        stream = generator(seed, "encoder")
        *_, last = importance_weights(model, x, proposal=q, samples=[samples], generator=stream)
        estimate = assess(last, name=kind, ceiling=float(model.ceiling(x)))
    else:
        estimate = _estimate(model, x, kind, samples=samples, seed=seed)
        if kind == "prior":
            log_ratio = math.log(samples) - float(model.log_rho(x))
    return Calibrated(kind, dim, samples, estimate, truth, log_ratio)


def _decoder(seed: int, kind: str, *, dim: int, samples: int) -> Calibrated:
    stream = generator(seed, "decoder")
    model = random_decoder(
        dim, generator=stream, hidden=(13,), pixels=40, logit_scale=3.0, dtype=torch.float64
    )
    _, x = draw_pairs(model, 1, generator=stream)
    found = integrate_evidence(model, x, generator=generator(seed, "quadrature"))
    estimate = _estimate(model, x, kind, samples=samples, seed=seed)
    log_ratio = math.log(samples) - found.log_rho if kind == "prior" else None
    return Calibrated(f"{kind} bernoulli", dim, samples, estimate, found.log_p, log_ratio)


def _estimate(model: LatentModel, x: Tensor, kind: str, *, samples: int, seed: int) -> Estimate:
    ceiling, stream = float(model.ceiling(x)), generator(seed, kind)
    if kind == "prior":
        *_, last = prior_weights(model, x, samples=[samples], generator=stream)
        return assess(last, name=kind, ceiling=ceiling)
    if kind == "laplace":
        q = laplace_proposal(model, x, generator=generator(seed, "starts"))
        *_, last = importance_weights(model, x, proposal=q, samples=[samples], generator=stream)
        return assess(last, name=kind, ceiling=ceiling)
    if kind == "control":
        *_, last = quasi_weights(model, x, samples=[max(samples, 100)], generator=stream)
        return assess(last, name=kind, ceiling=ceiling)
    schedule = choose_schedule(
        model, x, generator=generator(seed, "pilot"), temperatures=50 + samples % 397
    )
    chains = min(max(samples, 16), 128)
    found = anneal(model, x, schedule=schedule, chains=chains, generator=stream)
    return assess(summarize(found.log_weight), name=kind, ceiling=ceiling)
