"""How two bounds become one verdict, whatever chance gave them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.evidence.annealing import Sandwich, as_estimate, invert
from dlcli.evidence.diagnostics import Estimate, Verdict, assess, summarize


def bound(log_p: float, verdict: Verdict = "trust") -> Estimate:
    noise = torch.randn(200, 1, generator=generator(0), dtype=torch.float64)
    found = assess(summarize(log_p + 0.1 * noise), name="ais")
    return replace(found, log_p=log_p, verdict=verdict, reason=f"said {verdict}")


def between(lower: Estimate, upper: Estimate) -> Sandwich:
    return Sandwich(
        lower=lower, upper=upper, kl_posterior_prior=1.0, acceptance=0.8, evaluations=10
    )


@pytest.mark.parametrize(("width", "verdict"), [(-0.1, "trust"), (0.9, "trust"), (1.1, "doubt")])
def test_trusted_bounds_far_apart_leave_doubt(width: float, verdict: str):
    found = as_estimate(between(bound(-7.0), bound(-7.0 + width)))
    assert found.verdict == verdict
    assert found.reason == f"the bounds lie {width:.2f} nats apart"
    assert found.log_p == pytest.approx(-7.0 + width / 2)
    assert found.ci95[0] <= found.ci95[1]


@pytest.mark.parametrize("pair", [("trust", "reject"), ("reject", "doubt"), ("doubt", "reject")])
def test_the_worse_bound_decides(pair: tuple[Verdict, Verdict]):
    found = as_estimate(between(bound(-7.0, pair[0]), bound(-6.9, pair[1])))
    assert found.verdict == "reject"
    assert "said reject" in found.reason


def test_the_error_covers_the_gap_and_both_ends():
    lower, upper = replace(bound(-7.0), std_error=0.3), replace(bound(-5.0), std_error=0.4)
    found = between(lower, upper)
    assert found.std_error == pytest.approx(math.sqrt(0.25 * (0.3**2 + 0.4**2) + 1.0))


def test_inverting_twice_changes_nothing():
    once = invert(bound(-7.0))
    assert once.log_p == 7.0
    low, high = bound(-7.0).ci95
    assert once.ci95 == (-high, -low)
    assert invert(once) == bound(-7.0)
