"""`control` shares its points among 16 replicates: too few are a fault, not a crash."""

from __future__ import annotations

import math

import pytest

from dlcli.errors import UsageFault
from dlcli.evidence.config import EvidenceConfig
from dlcli.evidence.estimate import run


def control(**given: object) -> EvidenceConfig:
    return EvidenceConfig(dims=(2,), pixels=7, estimators=("control",), repeats=3, **given)


@pytest.mark.parametrize(
    ("given", "flag"),
    [({"samples": (1, 31)}, "--samples"), ({"target_se": 0.1, "max_samples": 31}, "--max-samples")],
)
def test_too_few_samples_for_control_are_named(given: dict[str, object], flag: str):
    with pytest.raises(UsageFault, match=f"at least 32 samples, and {flag} allows 31"):
        list(run(control(**given)))


@pytest.mark.parametrize("given", [{"samples": (32,)}, {"target_se": 0.1, "max_samples": 32}])
def test_just_enough_samples_for_control_are_used(given: dict[str, object]):
    *_, last = run(control(**given))
    estimate = last.results[0].estimators[0].estimate
    assert estimate.samples == 32
    assert math.isfinite(estimate.log_p)


def test_small_counts_are_left_out_where_a_larger_one_is_there():
    """Only the 10 is cheap enough to be repeated here, and `control` cannot visit it."""
    *_, last = run(control(samples=(10, 100), repeat_numbers=40))
    sweep = last.results[0].estimators[0].sweep
    assert sweep is not None
    assert [(point.samples, len(point.repeats)) for point in sweep.points] == [(96, 1)]
