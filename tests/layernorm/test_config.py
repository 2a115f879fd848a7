"""What `dl ln-gradients` refuses before any work."""

from __future__ import annotations

import re

import pytest

from dlcli.errors import ConfigError
from dlcli.layernorm.config import LnGradientsConfig, StackConfig, validate
from tests.layernorm.tiny import small, stack

TRANSFORMER = {"regime": "transformer"}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"sweep": {"placements": []}}, "--placements is empty"),
        ({"sweep": {"depths": []}}, "--depths is empty"),
        ({"sweep": {"widths": []}}, "--widths is empty"),
        ({"sweep": {"depths": [8]}}, "has no slope"),
        ({"sweep": {"depths": [8, 8]}}, "has no slope"),
        ({"sweep": {"widths": [256, 1]}}, "--widths 1 leaves nothing to measure: .*one feature"),
        ({"sweep": {"widths": [256, 2]}}, "--widths 2 leaves nothing to measure: .*two features"),
        ({"equations": True, "exact": {"width": 2}}, "--equations-width 2 .*two features"),
        ({"equations": True, "exact": {"width": 512, "tokens": 64}}, "squares"),
        ({"sweep": {"depths": [2, 4096], "widths": [16_384]}}, "billion weights"),
        ({"sweep": {"widths": [10]}, "stack": TRANSFORMER}, "--heads 4 does not divide --widths"),
        (
            {"equations": True, "exact": {"width": 6}, "stack": TRANSFORMER},
            "does not divide --equations-width 6",
        ),
        ({"train": True, "training": {"width": 10}}, "does not divide --train-width 10"),
        (
            {"layers": {"steps": 1}, "training": {"width": 10}, "stack": TRANSFORMER},
            "does not divide --train-width 10",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(layers: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(small(**layers))


def test_what_can_be_measured_is_not() -> None:
    validate(LnGradientsConfig())
    validate(small(sweep={"depths": [1, 2, 4], "widths": [10, 16]}))  # no heads to divide 10
    validate(small(layers={"steps": 1}, training={"width": 10}))


@pytest.mark.parametrize("depths", [[0, 2], [-1, 2], [1.5, 2]])
def test_a_depth_that_is_no_count_is_refused(depths: list[float]) -> None:
    with pytest.raises(ConfigError, match=re.escape("sweep.depths")):
        small(sweep={"depths": depths})


def test_a_sweep_is_sorted_and_without_duplicates() -> None:
    sweep = small(sweep={"depths": [8, 2, 8], "placements": ["pre", "post", "pre"]}).sweep
    assert sweep.distinct().depths == (2, 8)
    assert sweep.distinct().placements == ("pre", "post")


@pytest.mark.parametrize("regime", ["theorem", "transformer"])
def test_weights_are_counted_as_they_are_made(regime: str) -> None:
    matrices = sum(p.numel() for p in stack("post", regime=regime).parameters() if p.dim() == 2)
    assert StackConfig(regime=regime).count_weights(depth=3, width=8) == matrices
