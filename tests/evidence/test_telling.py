"""How far an estimator is: every stage grows from 0, and ends with everything there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlcli.evidence.config import AnnealingConfig, EvidenceConfig
from dlcli.evidence.diagnostics import fraction_of
from dlcli.evidence.estimate import run

SMALL = EvidenceConfig(
    dims=(3,),
    pixels=25,
    samples=(64, 1024),
    repeats=3,
    annealing=AnnealingConfig(chains=32, temperatures=40),
)


def _told(config: EvidenceConfig) -> dict[str, list[float]]:
    stages: dict[str, list[float]] = {}

    def tell(stage: str, done: float) -> None:
        stages.setdefault(stage, []).append(done)

    *_, last = run(config, tell=tell)
    assert last.complete
    return stages


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("prior", "prior"),
        ("importance", "importance"),
        ("control", "control"),
        ("ais", "ais"),
        ("bdmc", "bdmc"),
    ],
)
def test_every_estimator_tells_how_far_it_is(name: str, stage: str) -> None:
    stages = _told(replace(SMALL, estimators=(name,)))
    done = stages.pop(f"D = 3: {stage}")
    assert done[0] == 0
    assert done == sorted(set(done)), "the total is not too small"
    assert done[-1] == 1
    assert len(done) > 3
    assert stages == ({"D = 3: the pilot run": [0.0]} if name in ("ais", "bdmc") else {})


def test_a_wish_for_a_standard_error_has_no_end_that_is_known() -> None:
    assert _told(replace(SMALL, estimators=("prior",), target_se=0.1)) == {"D = 3: prior": [0.0]}


def test_more_than_foreseen_is_everything() -> None:
    heard = []
    told = fraction_of(4, stage="s", tell=lambda stage, done: heard.append((stage, done)))
    told(3)
    told(3)
    assert heard == [("s", 0.0), ("s", 0.75), ("s", 1.0)]
