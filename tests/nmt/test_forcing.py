"""Teacher forcing compared: the same settings but for the ratio."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dlcli.errors import UsageFault
from dlcli.nmt.forcing import forcing_cells
from tests.nmt.toy import make_config


def test_cells_differ_in_the_ratio_alone() -> None:
    config = make_config()
    cells = forcing_cells(config, [1, 0.5, 0, 0.5])
    assert list(cells) == ["forcing-1", "forcing-0.5", "forcing-0"]
    for cell, ratio in zip(cells.values(), (1, 0.5, 0), strict=True):
        assert cell.objective.teacher_forcing == ratio
        objective = dataclasses.replace(cell.objective, teacher_forcing=1.0)
        assert dataclasses.replace(cell, objective=objective) == config


@pytest.mark.parametrize("ratios", [[], [1], [1, 1], [0.5, 1.5], [-0.1, 1]])
def test_ratios_that_compare_nothing_are_refused(ratios: list[float]) -> None:
    with pytest.raises(UsageFault, match="compare nothing"):
        forcing_cells(make_config(), ratios)


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": {"teacher_forcing": 0.5}},
        {"objective": {"teacher_forcing_end": 0.5}},
        {"loop": {"patience": 2}},
        {"loop": {"max_minutes": 2.0}},
    ],
)
def test_settings_that_would_make_them_differ_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageFault):
        forcing_cells(make_config(**settings), [1, 0])
