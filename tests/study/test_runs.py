"""Runs beside one another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlcli.engine.runs import (
    RunFolder,
    create_run,
    curve_of,
    curves_of,
    details,
    differences,
    signature_warning,
    summarise,
)
from dlcli.errors import ConfigError


def _run(path: Path, *, settings: str = "optim:\n  lr: 1.0\n", **record: object) -> RunFolder:
    run = create_run("toy", out=path, force=False)
    run.config_file.write_text(settings)
    run.update_record(**{"kind": "vae", "title": "vae-mlp", "status": "done", **record})
    return run


def _measure(run: RunFolder, *rows: dict[str, object]) -> None:
    run.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_summary_has_the_key_facts(tmp_path: Path) -> None:
    run = _run(tmp_path / "runs" / "a", metrics={"elbo": -1.0}, signature="data:x", started="now")
    _measure(run, {"epoch": 1}, {"epoch": 2})
    assert summarise(run) == {
        "run": str(run.path),
        "name": "a",
        "kind": "vae",
        "title": "vae-mlp",
        "status": "done",
        "started": "now",
        "epoch": 2,
        "metrics": {"elbo": -1.0},
        "signature": "data:x",
    }


def test_a_run_in_a_folder_of_several_is_named_with_it(tmp_path: Path) -> None:
    assert summarise(_run(tmp_path / "runs" / "grid" / "a"))["name"] == "grid/a"


def test_a_run_of_which_little_is_left_still_has_a_summary(tmp_path: Path) -> None:
    run = _run(tmp_path / "runs" / "a")
    run.record_file.write_text("[]")
    found = summarise(run)
    assert (found["status"], found["epoch"], found["metrics"]) == ("no record", 0, {})


def test_details_have_settings_metrics_and_files(tmp_path: Path) -> None:
    run = _run(tmp_path / "a")
    _measure(run, {"epoch": 1, "train_loss": 5.0})
    found = details(run)
    assert found["config"] == {"optim": {"lr": 1.0}}
    assert found["last"] == {"epoch": 1, "train_loss": 5.0}
    assert found["record"]["title"] == "vae-mlp"
    assert [Path(name).name for name in found["files"]] == [
        "config.yaml",
        "metrics.jsonl",
        "run.json",
    ]
    run.config_file.write_text("- x")
    with pytest.raises(ConfigError):
        details(run)


def test_differences_are_the_settings_that_differ(tmp_path: Path) -> None:
    one = _run(tmp_path / "a", settings="optim:\n  lr: 1.0\n  clip: 0\nseed: 1\n")
    other = _run(tmp_path / "b", settings="optim:\n  lr: 2.0\n  clip: 0\nextra: x\n")
    assert differences([one, other]) == {
        "optim.lr": [1.0, 2.0],
        "seed": [1, None],
        "extra": [None, "x"],
    }
    assert differences([one, one]) == {}
    other.config_file.write_text("- broken")
    assert differences([one, other])["seed"] == [1, None]


def test_a_curve_is_of_validation_data_where_there_are_any(tmp_path: Path) -> None:
    run, other = _run(tmp_path / "runs" / "a"), _run(tmp_path / "runs" / "b")
    _measure(
        run,
        {"epoch": 1, "train_loss": 9, "valid_loss": 8.5},
        {"epoch": 2, "train_loss": 7, "valid_loss": None},
        {"epoch": 3, "train_loss": 6, "valid_loss": 7.5},
    )
    _measure(other, {"epoch": 1, "train_loss": 4.0})
    assert curve_of(run) == ([1.0, 3.0], [8.5, 7.5])
    assert curves_of([run, other]) == {"a": ([1.0, 3.0], [8.5, 7.5]), "b": ([1.0], [4.0])}
    assert curve_of(_run(tmp_path / "c")) == ([], [])


@pytest.mark.parametrize(
    ("signatures", "part"),
    [
        (["data:a|pixels:grey", "data:a|pixels:grey"], ""),
        (["data:a|pixels:grey", "data:a|pixels:black"], "pixels (black, grey)"),
        (["data:a", "data:b"], "data (a, b)"),
        (["data:a|split:test", "data:a"], "split (none, test)"),
        (["data:a", None], ""),
        ([], ""),
    ],
)
def test_runs_measured_on_different_things_are_pointed_out(
    signatures: list[str | None], part: str
) -> None:
    found = signature_warning([{"signature": signature} for signature in signatures])
    assert part in found
    assert bool(found) == bool(part)
