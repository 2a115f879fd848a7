"""`dl vae compare`: a grid of settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.tiny import LENGTH, SIZES, dl, dl_json, error_of

pytestmark = pytest.mark.usefixtures("no_figures")
GRID = ["vae", "compare", *LENGTH, *SIZES, "--snapshots", "0"]


def test_every_combination_is_trained_once(tmp_path: Path) -> None:
    out = tmp_path / "grid"
    words = [
        *GRID,
        "--out",
        str(out),
        "--set",
        "optim.lr=1.0e-4,1.0e-2",
        "optim.optimizer=adam,sgd",
    ]
    found = dl_json(*words)
    assert len(found["results"]) == 4
    assert found["best"] in found["results"]
    assert Path(found["files"][0]).read_bytes().startswith(b"\x89PNG")
    runs = [Path(result["run"]) for result in found["results"].values()]
    assert {run.parent for run in runs} == {out}
    before = {run: (run / "run.json").stat().st_mtime_ns for run in runs}
    again = dl_json(*words, "--resume")
    assert again["results"] == found["results"]
    assert before == {run: (run / "run.json").stat().st_mtime_ns for run in runs}


def test_one_value_is_no_grid() -> None:
    done = dl(*GRID, "--set", "optim.lr=1.0e-3", "--json")
    assert done.exit_code == 2
    assert "several values" in error_of(done)["message"]


def test_a_wrong_value_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    done = dl(*GRID, "--out", str(tmp_path / "g"), "--set", "optim.lr=1.0e-3,-1.0", "--json")
    assert done.exit_code == 2
    assert "optim.lr" in error_of(done)["message"] or "--lr" in error_of(done)["message"]
    assert not (tmp_path / "g").exists()
