"""Annealed importance sampling: chains that walk from the prior to the posterior.

Neal (2001), "Annealed importance sampling", with the HMC moves of Wu, Burda, Salakhutdinov &
Grosse (2017). A chain's weight is an unbiased estimate of p(x) however badly it mixes. Run
backwards from a posterior sample, which simulated data have for free, the same chain gives an
unbiased estimate of 1/p(x): log p(x) lies between the two (bidirectional Monte Carlo, Grosse,
Ghahramani & Adams 2015), each bound holding in expectation.

Shapes: `B` images, `K` chains an image, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dlcli.engine.events import no_progress
from dlcli.evidence.diagnostics import Estimate, Verdict, assess, summarize
from dlcli.evidence.hmc import RotatedModel, Schedule, State, state_at, transition
from dlcli.evidence.models import LatentModel, standard_normal
from dlcli.evidence.progress import CountCallback

SETTLING_MOVES = 20
"""Moves at β = 1 that part the backward chains from the one posterior sample they start at."""


@dataclass(frozen=True, eq=False)
class Annealed:
    """What annealing a set of chains gave.

    Args:
        log_weight: of p(x) forwards, of 1/p(x) backwards: (K, B), float64.
        final: the last state: weighted samples of the posterior (forwards).
        acceptance: mean acceptance probability, (B,).
        evaluations: decoder evaluations spent an image.
    """

    log_weight: Tensor
    final: State
    acceptance: Tensor
    evaluations: int

    def posterior_log_likelihood(self) -> Tensor:
        """Estimate E[log p(x | z)] over the posterior from forward chains: (B,)."""
        share = torch.softmax(self.log_weight, dim=0)
        return (share * self.final.log_likelihood.double()).sum(0)


def anneal(
    model: LatentModel,
    x: Tensor,
    *,
    schedule: Schedule,
    chains: int,
    generator: torch.Generator,
    progress: CountCallback = no_progress,
) -> Annealed:
    """Anneal chains from the prior to the posterior of each image.

    Args:
        model: any model.
        x: images, (B, M).
        schedule: temperatures and moves, chosen beforehand for these images.
        chains: K.
        generator: the only source of randomness; not the one that chose the schedule.
        progress: is called with 1 for every temperature that the chains have reached.

    Raises:
        RunFailed: the decoder returned NaN.
    """
    rotated = RotatedModel(model, schedule.reference)
    shape = (chains, x.shape[0], model.latent_dim)
    state = state_at(rotated, x, standard_normal(model, shape, generator=generator))
    order = range(1, schedule.temperatures + 1)
    return _run_chains(
        rotated, x, state, schedule=schedule, order=order, generator=generator, progress=progress
    )


def anneal_backwards(
    model: LatentModel,
    x: Tensor,
    z: Tensor,
    *,
    schedule: Schedule,
    chains: int,
    generator: torch.Generator,
    progress: CountCallback = no_progress,
) -> Annealed:
    """Anneal chains from a posterior sample of each image back to the prior.

    Args:
        model: any model.
        x: images, (B, M).
        z: an exact posterior sample of each image: the latents that gave the simulated x, (B, D).
        schedule: as for `anneal`.
        chains: K.
        generator: the only source of randomness.
        progress: is called with 1 for every temperature that the chains have reached.

    Raises:
        RunFailed: the decoder returned NaN.
    """
    rotated = RotatedModel(model, schedule.reference)
    start = z.to(model.dtype).expand(chains, *z.shape)
    state = state_at(rotated, x, schedule.reference.to_axes(start))
    steps, last_angle = schedule.steps, schedule.angles[-1]
    for _ in range(SETTLING_MOVES):
        state, _ = transition(
            rotated, x, state, beta=1.0, angle=last_angle, steps=steps, generator=generator
        )
    order = range(schedule.temperatures - 1, -1, -1)
    return _run_chains(
        rotated, x, state, schedule=schedule, order=order, generator=generator, progress=progress
    )


def _run_chains(
    rotated: RotatedModel,
    x: Tensor,
    state: State,
    *,
    schedule: Schedule,
    order: range,
    generator: torch.Generator,
    progress: CountCallback,
) -> Annealed:
    """Visit the temperatures in `order`: weigh the state by the change of β, then move."""
    betas, angles, steps = schedule.betas.tolist(), schedule.angles, schedule.steps
    log_weight = torch.zeros_like(state.log_likelihood, dtype=torch.float64)
    acceptance = torch.zeros(x.shape[0], dtype=torch.float64, device=rotated.model.device)
    for t in order:
        log_weight += (betas[t] - betas[t - order.step]) * state.log_likelihood
        state, accepted = transition(
            rotated, x, state, beta=betas[t], angle=angles[t], steps=steps, generator=generator
        )
        acceptance += accepted.mean(0)
        progress(1)
    evaluations = log_weight.shape[0] * (len(order) * steps + 1)
    return Annealed(log_weight, state, acceptance / len(order), evaluations)


WIDE_NATS = 1.0
"""A gap between the bounds that leaves doubt whatever the weights look like."""
SEVERITY: tuple[Verdict, ...] = ("trust", "doubt", "reject")


@dataclass(frozen=True, kw_only=True)
class Sandwich:
    """Bounds on log p(x) of one simulated image, in nats.

    Args:
        lower: estimate from the forward chains, low on average.
        upper: estimate from the backward chains, high on average.
        kl_posterior_prior: KL(p(z | x) ‖ p(z)), estimated with the forward chains' weights.
        acceptance: mean acceptance probability of the forward chains' moves.
        evaluations: decoder evaluations spent.
    """

    lower: Estimate
    upper: Estimate
    kl_posterior_prior: float
    acceptance: float
    evaluations: int

    @property
    def width(self) -> float:
        """The upper bound less the lower; may be slightly negative by chance."""
        return self.upper.log_p - self.lower.log_p

    @property
    def middle(self) -> float:
        """Half-way between the bounds."""
        return 0.5 * (self.upper.log_p + self.lower.log_p)

    @property
    def std_error(self) -> float:
        """Half the width and both ends' standard errors, added as if independent."""
        ends = 0.25 * (self.lower.std_error**2 + self.upper.std_error**2)
        return math.sqrt(ends + 0.25 * self.width**2)


def sandwich(
    model: LatentModel,
    x: Tensor,
    z: Tensor,
    *,
    schedule: Schedule,
    chains: int,
    generators: tuple[torch.Generator, torch.Generator],
    progress: CountCallback = no_progress,
) -> Sandwich:
    """Bound log p(x) of one image drawn from the model.

    Grosse, Ghahramani & Adams (2015), "Sandwiching the marginal likelihood using bidirectional
    Monte Carlo". Such an image comes with one exact posterior sample, the latents that made it.
    Annealing forwards from the prior bounds log p(x) from below, backwards from that sample from
    above, each in expectation; the gap between them bounds the error of both.

    Args:
        model: any model.
        x: the image, (1, M).
        z: the latents that it was drawn from, (1, D).
        schedule: chosen for this image.
        chains: in each direction.
        generators: for the forward and for the backward chains.
        progress: is called with 1 for every temperature that the chains of either direction
            have reached.

    Raises:
        RunFailed: the decoder returned NaN.
    """
    ceiling = float(model.ceiling(x)[0])
    ahead = anneal(
        model, x, schedule=schedule, chains=chains, generator=generators[0], progress=progress
    )
    back = anneal_backwards(
        model, x, z, schedule=schedule, chains=chains, generator=generators[1], progress=progress
    )
    lower = assess(
        summarize(ahead.log_weight), name="ais", ceiling=ceiling, evaluations=ahead.evaluations
    )
    inverse = assess(summarize(back.log_weight), name="ais-backwards", evaluations=back.evaluations)
    return Sandwich(
        lower=lower,
        upper=invert(inverse),
        kl_posterior_prior=float(ahead.posterior_log_likelihood()[0]) - lower.log_p,
        acceptance=float(ahead.acceptance[0]),
        evaluations=ahead.evaluations + back.evaluations + schedule.evaluations,
    )


def as_estimate(found: Sandwich) -> Estimate:
    """Report a sandwich as one estimate: the middle, with an interval that covers both ends."""
    ends = (found.lower, found.upper)
    worst = max(ends, key=lambda end: SEVERITY.index(end.verdict))
    verdict, reason = worst.verdict, f"{worst.name}: {worst.reason}"
    if verdict == "trust" and found.width > WIDE_NATS:
        verdict, reason = "doubt", f"the bounds lie {found.width:.2f} nats apart"
    elif verdict == "trust":
        reason = f"the bounds lie {found.width:.2f} nats apart"
    return replace(
        found.lower,
        name="bdmc",
        log_p=found.middle,
        std_error=found.std_error,
        ci95=(found.lower.ci95[0], max(found.upper.ci95[1], found.lower.ci95[0])),
        ess=min(end.ess for end in ends),
        max_weight=max(end.max_weight for end in ends),
        pareto_k=max(end.pareto_k for end in ends),
        tail_k=max(end.tail_k for end in ends),
        verdict=verdict,
        reason=reason,
        evaluations=found.evaluations,
        details={
            "lower": found.lower.log_p,
            "upper": found.upper.log_p,
            "width": found.width,
            "lower_std_error": found.lower.std_error,
            "upper_std_error": found.upper.std_error,
        },
    )


def invert(inverse: Estimate) -> Estimate:
    """Turn an estimate of log 1/p(x) into one of log p(x), high on average."""
    low, high = inverse.ci95
    return replace(inverse, log_p=-inverse.log_p, ci95=(-high, -low))
