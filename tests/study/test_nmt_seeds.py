from __future__ import annotations

import dataclasses

import pytest

from dlcli.nmt.forcing import summarise
from tests.nmt.test_result import RESULT, VALID


def test_means_deviations_and_every_run() -> None:
    runs = {
        f"seed-{seed}": dataclasses.replace(
            RESULT,
            run=f"/runs/s/seed-{seed}",
            valid=dataclasses.replace(VALID, bleu=30.0 + seed),
            signature=f"data:toy|seed:{seed}|version:x",
        )
        for seed in (3, 4)
    }
    found = summarise(runs)
    assert found["run"] == "/runs/s"
    valid, deviation = found["valid"], found["valid_std"]
    assert isinstance(valid, dict)
    assert isinstance(deviation, dict)
    assert valid["bleu"] == pytest.approx(33.5)
    assert deviation["bleu"] == pytest.approx(0.5**0.5)
    assert found["signature"] == "data:toy|seed:3,4|version:x"
    assert len(found["runs"]) == 2  # type: ignore[arg-type]


def test_without_validation_pairs_there_is_nothing_to_average() -> None:
    found = summarise({"seed-0": dataclasses.replace(RESULT, valid=None)})
    assert found["valid"] is None
    assert found["valid_std"] is None
