"""Runs beside one another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dlcli.engine.runs import RunFolder
from dlcli.study.runs import (
    curve_of,
    curves_of,
    details,
    differences,
    signature_warning,
    summarise,
)


def a_run(folder: Path, *, config: str, rows: list[dict[str, Any]], **record: Any) -> RunFolder:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    return RunFolder(folder)


def test_differences_are_the_settings_that_differ(tmp_path: Path) -> None:
    one = a_run(tmp_path / "one", config="optim: {lr: 0.1, clip: 0}\nseed: 1\n", rows=[])
    two = a_run(tmp_path / "two", config="optim: {lr: 0.2, clip: 0}\nseed: 1\nnew: x\n", rows=[])
    assert differences([one, two]) == {"optim.lr": [0.1, 0.2], "new": [None, "x"]}
    assert differences([one, one]) == {}


def test_curves_prefer_validation_and_leave_out_null(tmp_path: Path) -> None:
    rows = [
        {"epoch": 1, "train_loss": 9.0, "valid_loss": 8.0},
        {"epoch": 2, "train_loss": 7.0, "valid_loss": None},
        {"epoch": 3, "train_loss": 6.0, "valid_loss": 5.0},
    ]
    run = a_run(tmp_path / "run", config="{}", rows=rows)
    assert curve_of(run) == ([1.0, 3.0], [8.0, 5.0])
    plain = a_run(tmp_path / "plain", config="{}", rows=[{"epoch": 1, "train_loss": 9.0}])
    assert curve_of(plain) == ([1.0], [9.0])
    assert list(curves_of([run, plain]).values()) == [([1.0, 3.0], [8.0, 5.0]), ([1.0], [9.0])]


def test_a_summary_has_the_last_epoch_and_the_final_metrics(tmp_path: Path) -> None:
    run = a_run(
        tmp_path / "runs" / "mine",
        config="{}",
        rows=[{"epoch": 4}],
        kind="vae",
        status="done",
        metrics={"elbo": -1.5},
        signature="data:x",
    )
    found = summarise(run)
    assert found["name"] == "mine"
    assert (found["kind"], found["status"], found["epoch"]) == ("vae", "done", 4)
    assert found["metrics"] == {"elbo": -1.5}
    assert details(run)["files"]


def test_numbers_of_different_pixels_are_not_compared_silently() -> None:
    rows = [{"signature": "data:mnist|pixels:grey"}, {"signature": "data:mnist|pixels:dynamic"}]
    assert "pixels" in signature_warning(rows)
    assert signature_warning(rows[:1] * 2) == ""
    assert signature_warning([{"signature": None}, rows[0]]) == ""
