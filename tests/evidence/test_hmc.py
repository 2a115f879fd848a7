from __future__ import annotations

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.cases import integrate_evidence
from dlcli.evidence.hmc import Reference, Turned, find_reference, state_at, transition
from dlcli.evidence.models import draw_pairs, random_decoder
from tests.evidence.calibration import linear_case


def walk(turned: Turned, x: torch.Tensor, *, beta: float, moves: int, angle: float, steps: int):
    stream = generator(5)
    D = turned.model.latent_dim
    state = state_at(turned, x, torch.randn(64, 1, D, generator=stream, dtype=torch.float64))
    angles = torch.full((1, 1), angle, dtype=torch.float64)
    kept, accepted = [], []
    for move in range(moves):
        state, probability = transition(
            turned, x, state, beta=beta, angle=angles, steps=steps, generator=stream
        )
        accepted.append(probability.mean())
        if move >= moves // 4:
            kept.append(state)
    return kept, float(torch.stack(accepted).mean())


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 3])
def test_leaves_a_tempered_gaussian_as_it_is(beta: float, steps: int):
    model, x, _ = linear_case(0, dim=2, pixels=6)
    turned = Turned(model, find_reference(model, x, generator=generator(1)))
    kept, acceptance = walk(turned, x, beta=beta, moves=400, angle=1.2 / steps, steps=steps)
    assert acceptance > 0.999
    z = turned.reference.from_axes(torch.cat([state.u for state in kept]))[:, 0]
    gram = model.weight.T @ model.weight / model.noise_variance
    covariance = torch.linalg.inv(torch.eye(2) + beta * gram)
    mean = covariance @ (beta * (x @ model.weight / model.noise_variance)[0])
    scale = covariance.diagonal().sqrt()
    assert bool(((z.mean(0) - mean).abs() < 0.06 * scale).all())
    assert (
        float(
            (z.T.cov() / covariance.diagonal().mean() - covariance / covariance.diagonal().mean())
            .abs()
            .max()
        )
        < 0.06
    )


def test_a_wrong_reference_costs_moves_not_truth():
    """Half the curvature, and a slope that points elsewhere: the Metropolis step corrects both."""
    model, x, _ = linear_case(0, dim=2, pixels=6)
    right = find_reference(model, x, generator=generator(1))
    wrong = Reference(right.axes, 0.5 * right.curvatures, 0.8 * right.slope)
    kept, acceptance = walk(Turned(model, wrong), x, beta=1.0, moves=800, angle=0.5, steps=2)
    assert acceptance < 0.99
    z = wrong.from_axes(torch.cat([state.u for state in kept]))[:, 0]
    mean, covariance = model.posterior(x)
    scale = covariance.diagonal().sqrt()
    assert bool(((z.mean(0) - mean[0]).abs() < 0.1 * scale).all())
    assert bool(((z.std(0) / scale - 1).abs() < 0.1).all())


def test_posterior_of_a_decoder_agrees_with_quadrature():
    model = random_decoder(
        1, generator=generator(2), hidden=(9,), pixels=20, logit_scale=3.0, dtype=torch.float64
    )
    _, x = draw_pairs(model, 1, generator=generator(3))
    turned = Turned(model, find_reference(model, x, generator=generator(4)))
    kept, _ = walk(turned, x, beta=1.0, moves=300, angle=0.7, steps=2)
    found = float(torch.cat([state.log_likelihood for state in kept]).mean())
    exact = integrate_evidence(model, x, generator=generator(6))
    assert abs(found - exact.log_evidence - exact.kl_posterior_prior) < 0.05


def test_cached_values_belong_to_the_state_also_where_a_move_is_rejected():
    model, x, _ = linear_case(0, dim=2, pixels=6)
    right = find_reference(model, x, generator=generator(1))
    turned = Turned(model, Reference(right.axes, 0.5 * right.curvatures, 0.8 * right.slope))
    kept, acceptance = walk(turned, x, beta=1.0, moves=8, angle=0.5, steps=2)
    assert acceptance < 0.99
    again = state_at(turned, x, kept[-1].u)
    torch.testing.assert_close(again.log_likelihood, kept[-1].log_likelihood)
    torch.testing.assert_close(again.gradient, kept[-1].gradient)


def test_the_kicks_are_as_weak_as_the_temperature_says():
    """With a wrong reference at β = 0.02 there is next to nothing to correct."""
    model, x, _ = linear_case(0, dim=2, pixels=6)
    right = find_reference(model, x, generator=generator(1))
    wrong = Reference(right.axes, 0.5 * right.curvatures, 0.8 * right.slope)
    _, acceptance = walk(Turned(model, wrong), x, beta=0.02, moves=40, angle=0.5, steps=2)
    assert acceptance > 0.97
