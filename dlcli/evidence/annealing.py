"""Annealed importance sampling: chains that walk from the prior to the posterior.

Neal (2001), "Annealed importance sampling", with the HMC moves of Wu, Burda, Salakhutdinov &
Grosse (2017). A chain's weight is an unbiased estimate of p(x) however badly it mixes. Run
backwards from a posterior sample, which simulated data have for free, the same chain gives an
unbiased estimate of 1/p(x): log p(x) lies between the two (bidirectional Monte Carlo, Grosse,
Ghahramani & Adams 2015), each bound holding in expectation.

Shapes: `B` images, `K` chains an image, `D` latent dimensions, `M` pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.evidence.hmc import State, state_at, transition
from dlcli.evidence.model import LatentModel, standard_normal
from dlcli.evidence.reference import Turned
from dlcli.evidence.schedule import Schedule
from dlcli.evidence.telling import Told, unheard

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
    told: Told = unheard,
) -> Annealed:
    """Anneal chains from the prior to the posterior of each image.

    Args:
        model: any model.
        x: images, (B, M).
        schedule: temperatures and moves, chosen beforehand for these images.
        chains: K.
        generator: the only source of randomness; not the one that chose the schedule.
        told: hears of every temperature that the chains have reached.

    Raises:
        RunFailed: the decoder returned NaN.
    """
    turned = Turned(model, schedule.reference)
    shape = (chains, x.shape[0], model.latent_dim)
    state = state_at(turned, x, standard_normal(model, shape, generator=generator))
    order = range(1, schedule.temperatures + 1)
    return _walk(turned, x, state, schedule=schedule, order=order, generator=generator, told=told)


def anneal_backwards(
    model: LatentModel,
    x: Tensor,
    z: Tensor,
    *,
    schedule: Schedule,
    chains: int,
    generator: torch.Generator,
    told: Told = unheard,
) -> Annealed:
    """Anneal chains from a posterior sample of each image back to the prior.

    Args:
        model: any model.
        x: images, (B, M).
        z: an exact posterior sample of each image: the latents that gave the simulated x, (B, D).
        schedule: as for `anneal`.
        chains: K.
        generator: the only source of randomness.
        told: hears of every temperature that the chains have reached.

    Raises:
        RunFailed: the decoder returned NaN.
    """
    turned = Turned(model, schedule.reference)
    start = z.to(model.dtype).expand(chains, *z.shape)
    state = state_at(turned, x, schedule.reference.to_axes(start))
    for _ in range(SETTLING_MOVES):
        state, _ = transition(
            turned,
            x,
            state,
            beta=1.0,
            angle=schedule.angles[-1],
            steps=schedule.steps,
            generator=generator,
        )
    order = range(schedule.temperatures - 1, -1, -1)
    return _walk(turned, x, state, schedule=schedule, order=order, generator=generator, told=told)


def _walk(
    turned: Turned,
    x: Tensor,
    state: State,
    *,
    schedule: Schedule,
    order: range,
    generator: torch.Generator,
    told: Told,
) -> Annealed:
    """Visit the temperatures in `order`: weigh the state by the change of β, then move."""
    betas = schedule.betas.tolist()
    log_weight = torch.zeros_like(state.log_likelihood, dtype=torch.float64)
    acceptance = torch.zeros(x.shape[0], dtype=torch.float64, device=turned.model.device)
    for t in order:
        log_weight += (betas[t] - betas[t - order.step]) * state.log_likelihood
        state, accepted = transition(
            turned,
            x,
            state,
            beta=betas[t],
            angle=schedule.angles[t],
            steps=schedule.steps,
            generator=generator,
        )
        acceptance += accepted.mean(0)
        told(1)
    steps = len(order)
    evaluations = log_weight.shape[0] * (steps * schedule.steps + 1)
    return Annealed(log_weight, state, acceptance / steps, evaluations)
