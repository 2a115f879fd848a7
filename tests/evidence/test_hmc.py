"""The moves, the pilot run, and the schedule that follows from it."""

from __future__ import annotations

import math

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.errors import RunFailed
from dlcli.evidence import hmc
from dlcli.evidence.annealing import anneal
from dlcli.evidence.hmc import (
    FEWEST_TEMPERATURES,
    Pilot,
    Reference,
    RotatedModel,
    choose_schedule,
    find_reference,
    interpolate,
    run_pilot,
    state_at,
    transition,
)
from dlcli.evidence.models import LinearGaussian, draw_pairs
from tests.evidence.calibration import linear_case


def walk(
    model: RotatedModel, x: torch.Tensor, *, beta: float, moves: int, angle: float, steps: int
):
    stream = generator(5)
    D = model.model.latent_dim
    state = state_at(model, x, torch.randn(64, 1, D, generator=stream, dtype=torch.float64))
    angles = torch.full((1, 1), angle, dtype=torch.float64)
    kept, accepted = [], []
    for move in range(moves):
        state, probability = transition(
            model, x, state, beta=beta, angle=angles, steps=steps, generator=stream
        )
        accepted.append(probability.mean())
        if move >= moves // 4:
            kept.append(state)
    return kept, float(torch.stack(accepted).mean())


def misled_model(model: LinearGaussian, x: torch.Tensor) -> RotatedModel:
    """Half the curvature, and a slope that points elsewhere."""
    right = find_reference(model, x, generator=generator(1))
    wrong = Reference(right.axes, 0.5 * right.curvatures, 0.8 * right.slope)
    return RotatedModel(model, wrong)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 3])
def test_leaves_a_tempered_gaussian_as_it_is(beta: float, steps: int):
    model, x, _ = linear_case(0, dim=2, pixels=6)
    rotated = RotatedModel(model, find_reference(model, x, generator=generator(1)))
    kept, acceptance = walk(rotated, x, beta=beta, moves=400, angle=1.2 / steps, steps=steps)
    assert acceptance > 0.999
    z = rotated.reference.from_axes(torch.cat([state.u for state in kept]))[:, 0]
    gram = model.weight.T @ model.weight / model.noise_variance
    covariance = torch.linalg.inv(torch.eye(2) + beta * gram)
    mean = covariance @ (beta * (x @ model.weight / model.noise_variance)[0])
    scale = covariance.diagonal().sqrt()
    assert bool(((z.mean(0) - mean).abs() < 0.06 * scale).all())
    assert float((z.T.cov() - covariance).abs().max()) < 0.06 * covariance.diagonal().mean()


def test_a_wrong_reference_costs_moves_not_truth():
    """The Metropolis step corrects it."""
    model, x, _ = linear_case(0, dim=2, pixels=6)
    misled = misled_model(model, x)
    kept, acceptance = walk(misled, x, beta=1.0, moves=800, angle=0.5, steps=2)
    assert acceptance < 0.99
    z = misled.reference.from_axes(torch.cat([state.u for state in kept]))[:, 0]
    mean, covariance = model.posterior(x)
    scale = covariance.diagonal().sqrt()
    assert bool(((z.mean(0) - mean[0]).abs() < 0.1 * scale).all())
    assert bool(((z.std(0) / scale - 1).abs() < 0.1).all())


def test_cached_values_belong_to_the_state_also_where_a_move_is_rejected():
    model, x, _ = linear_case(0, dim=2, pixels=6)
    misled = misled_model(model, x)
    kept, acceptance = walk(misled, x, beta=1.0, moves=8, angle=0.5, steps=2)
    assert acceptance < 0.99
    again = state_at(misled, x, kept[-1].u)
    torch.testing.assert_close(again.log_likelihood, kept[-1].log_likelihood)
    torch.testing.assert_close(again.gradient, kept[-1].gradient)


def test_the_kicks_are_as_weak_as_the_temperature_says():
    """With a wrong reference at β = 0.02 there is next to nothing to correct."""
    model, x, _ = linear_case(0, dim=2, pixels=6)
    misled = misled_model(model, x)
    _, acceptance = walk(misled, x, beta=0.02, moves=40, angle=0.5, steps=2)
    assert acceptance > 0.97


def test_sees_the_spread_of_the_prior_and_of_the_posterior():
    model, x, _ = linear_case(0, dim=4, pixels=30)
    reference = find_reference(model, x, generator=generator(1))
    found = run_pilot(model, x, reference=reference, steps=1, generator=generator(2))
    assert (found.betas[0], found.betas[-1]) == (0.0, 1.0)
    assert bool((found.betas.diff() > 0).all())
    # In the posterior −log p(x | z) is about half a χ² with 4 degrees of freedom: sd √2.
    # The pilot's chains lag a little behind the temperature, so the last stage alone is read.
    assert 0.6 * math.sqrt(2) < float(found.spreads[-1]) < 1.6 * math.sqrt(2)
    z = torch.randn(20_000, 1, 4, generator=generator(3), dtype=torch.float64)
    prior_sd = float(model.log_likelihood(x, z).std())
    assert 0.5 < float(found.spreads[0]) / prior_sd < 2
    assert 1.0 <= found.inefficiency < 1.6
    assert found.angles.shape == (len(found.betas), 1, 1)
    assert float(found.angles.max()) <= math.pi / 2 + 1e-12


def test_a_path_without_end_is_a_failure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hmc, "MOST_STAGES", 3)
    model, x, _ = linear_case(0, dim=4, pixels=30)
    reference = find_reference(model, x, generator=generator(1))
    with pytest.raises(RunFailed, match="after 3 stages"):
        run_pilot(model, x, reference=reference, steps=1, generator=generator(2))


def test_correlated_moves_cost_more():
    zero = torch.zeros(1)
    assert Pilot(1, zero, zero, zero, 0.5, 0).inefficiency == 3.0
    assert Pilot(1, zero, zero, zero, 0.0, 0).inefficiency == 1.0


def test_a_gaussian_likelihood_is_its_own_reference():
    model, _, _ = linear_case(0, dim=3, pixels=11)
    _, x = draw_pairs(model, 2, generator=generator(1))
    found = find_reference(model, x, generator=generator(2))
    rotated = RotatedModel(model, found)
    u = torch.randn(4, 2, 3, generator=generator(3), dtype=torch.float64)
    value, gradient = rotated.log_likelihood_and_gradient(x, u)
    expected = found.slope - found.curvatures * u
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(value, model.log_likelihood(x, found.from_axes(u)))
    torch.testing.assert_close(found.from_axes(found.to_axes(u)), u)


def test_widths_are_those_of_the_tempered_posterior():
    model, x, _ = linear_case(1, dim=3, pixels=11)
    found = find_reference(model, x, generator=generator(2))
    _, covariance = model.posterior(x)
    torch.testing.assert_close(
        found.widths(1.0)[0].sort().values,
        torch.linalg.eigvalsh(covariance).sqrt(),
        rtol=1e-5,
        atol=0,
    )
    assert found.widths(0.0).tolist() == [[1.0] * 3]


def test_interpolation_goes_through_the_knots():
    knots, values = torch.tensor([0.0, 1.0, 4.0]), torch.tensor([3.0, 5.0, -1.0])
    found = interpolate(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.5, 4.0, 9.0]), knots, values)
    assert found.tolist() == [3.0, 3.0, 4.0, 5.0, 2.0, -1.0, -1.0]


def test_the_predicted_spread_is_what_the_chains_show():
    model, x, _ = linear_case(0, dim=10)
    schedule = choose_schedule(model, x, generator=generator(1), temperatures=400)
    found = anneal(model, x, schedule=schedule, chains=256, generator=generator(2))
    assert 0.6 < float(found.log_weight.std()) / schedule.predicted_sd < 1.6


def test_length_follows_the_wanted_spread():
    model, x, _ = linear_case(0, dim=10)
    loose = choose_schedule(model, x, generator=generator(1), target_sd=1.0)
    tight = choose_schedule(model, x, generator=generator(1), target_sd=0.7)
    assert loose.temperatures > FEWEST_TEMPERATURES
    assert 1.9 < tight.temperatures / loose.temperatures < 2.2
    assert abs(loose.predicted_sd / 1.0 - 1) < 0.01
    assert abs(tight.predicted_sd / 0.7 - 1) < 0.01
    capped = choose_schedule(model, x, generator=generator(1), target_sd=0.01, most=300)
    assert capped.temperatures == 300


@pytest.mark.parametrize(
    ("correlations", "steps"),
    [
        ((0.6, 0.5), 1),
        ((0.8, 0.3, 0.3), 2),
        ((0.9, 0.6, 0.3), 4),  # 19, 8, 7.4, and what moves that well needs no longer moves
        ((0.9, 0.9, 0.75, 0.3), 8),  # 19, 38, 28, 15: a sticky one is no end
        ((0.98, 0.98, 0.9, 0.9), 4),  # no price is known of the first two
        ((0.98, 0.98, 0.98, 0.98), 8),
    ],
)
def test_longer_moves_are_made_only_where_they_pay(
    correlations: tuple[float, ...], steps: int, monkeypatch: pytest.MonkeyPatch
):
    """(1 + r)/(1 − r) times the steps: 4 against 6 evaluations, or 9 against 3.7 and 7.4."""
    model, x, _ = linear_case(0, dim=2, pixels=9)
    left = list(correlations)

    def pilot(*_: object, steps: int, **__: object) -> Pilot:
        betas = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
        angles = torch.ones(3, 1, 1)
        return Pilot(steps, betas, torch.ones(3, dtype=torch.float64), angles, left.pop(0), 7)

    monkeypatch.setattr(hmc, "run_pilot", pilot)
    found = choose_schedule(model, x, generator=generator(1))
    assert found.steps == steps
    assert found.evaluations == 7 * len(correlations)


@pytest.mark.parametrize("most", [1, 7, FEWEST_TEMPERATURES, FEWEST_TEMPERATURES + 3])
def test_no_more_temperatures_than_allowed(most: int):
    model, x, _ = linear_case(0, dim=2, pixels=9)
    found = choose_schedule(model, x, generator=generator(1), target_sd=0.01, most=most)
    assert found.temperatures == most
    assert (found.betas[0], found.betas[-1]) == (0.0, 1.0)


def test_an_easy_path_still_gets_the_fewest():
    model, x, _ = linear_case(0, dim=1, pixels=3, noise=1.0)
    found = choose_schedule(model, x, generator=generator(1), target_sd=5.0)
    assert found.temperatures == FEWEST_TEMPERATURES
