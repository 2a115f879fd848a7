from __future__ import annotations

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence import hmc as schedule_module
from dlcli.evidence.annealing import anneal
from dlcli.evidence.hmc import Pilot, choose_schedule, interpolate
from tests.evidence.calibration import linear_case


def test_interpolation_goes_through_the_knots():
    knots, values = torch.tensor([0.0, 1.0, 4.0]), torch.tensor([3.0, 5.0, -1.0])
    found = interpolate(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.5, 4.0, 9.0]), knots, values)
    assert found.tolist() == [3.0, 3.0, 4.0, 5.0, 2.0, -1.0, -1.0]


def test_temperatures_rise_from_prior_to_posterior():
    model, x, _ = linear_case(0, dim=3, pixels=50)
    found = choose_schedule(model, x, generator=generator(1), temperatures=57)
    assert found.temperatures == 57
    assert (found.betas[0], found.betas[-1]) == (0.0, 1.0)
    assert bool((found.betas.diff() > 0).all())
    assert found.angles.shape == (58, 1, 1)
    assert bool((found.angles > 0).all())
    assert found.describe()["temperatures"] == 57


def test_the_predicted_spread_is_what_the_chains_show():
    model, x, _ = linear_case(0, dim=10)
    schedule = choose_schedule(model, x, generator=generator(1), temperatures=400)
    found = anneal(model, x, schedule=schedule, chains=256, generator=generator(2))
    assert 0.6 < float(found.log_weight.std()) / schedule.predicted_sd < 1.6


def test_length_follows_the_wanted_spread():
    model, x, _ = linear_case(0, dim=10)
    loose = choose_schedule(model, x, generator=generator(1), target_sd=1.0)
    tight = choose_schedule(model, x, generator=generator(1), target_sd=0.7)
    assert 1.9 < tight.temperatures / loose.temperatures < 2.2
    capped = choose_schedule(model, x, generator=generator(1), target_sd=0.01, most=300)
    assert capped.temperatures == 300


def test_a_chosen_length_gives_the_wanted_spread():
    model, x, _ = linear_case(0, dim=10)
    found = choose_schedule(model, x, generator=generator(1), target_sd=0.5)
    assert found.temperatures > schedule_module.FEWEST_TEMPERATURES
    assert abs(found.predicted_sd / 0.5 - 1) < 0.01


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

    monkeypatch.setattr(schedule_module, "run_pilot", pilot)
    found = choose_schedule(model, x, generator=generator(1))
    assert found.steps == steps
    assert found.evaluations == 7 * len(correlations)
