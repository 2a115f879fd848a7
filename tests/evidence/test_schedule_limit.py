"""`--most-temperatures` is a limit, also below the fewest that are chosen otherwise."""

from __future__ import annotations

import pytest

from dlcli.engine.seed import generator
from dlcli.evidence.hmc import FEWEST_TEMPERATURES, choose_schedule
from tests.evidence.calibration import linear_case


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
