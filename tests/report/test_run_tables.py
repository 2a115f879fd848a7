"""Tables of runs."""

from __future__ import annotations

from pathlib import Path

from dlcli.display.runs import record_table, removals_table, runs_table
from dlcli.engine.runs import Removal

RUN = {
    "run": "/runs/a", "name": "a", "kind": "vae", "title": "vae-conv", "status": "done",
    "started": "2026-11-23", "epoch": 80, "signature": "data:mnist|seed:0",
    "metrics": {"elbo": -96.123, "std_error": 0.05, "kl": 25.5, "images": 10000},
}  # fmt: skip
OTHER = {**RUN, "name": "b", "status": "running", "metrics": {}, "signature": None}


def test_runs_show_their_metrics_with_units_and_errors() -> None:
    table = runs_table([RUN, OTHER], settings={"optim.lr": [1e-3, 1e-2]})
    assert table.lines() == [
        "run  kind  status   epoch  optim.lr    elbo (nats)  kl (nats)",
        "a    vae   done        80     0.001  -96.12 ± 0.05     25.500",
        "b    vae   running     80      0.01              -          -",
    ]
    assert table.signatures == {"a": "data:mnist|seed:0"}


def test_no_runs_are_an_empty_table() -> None:
    assert runs_table([]).lines() == ["run  kind  status  epoch"]


def test_a_record_shows_settings_metrics_and_machine() -> None:
    found = {
        **RUN,
        "record": {"command": ["dl", "vae", "train"], "machine": {"device": "cpu"}},
        "config": {"loop": {"epochs": 80}, "snapshots": [0, 10], "model": {"skip": False}},
        "last": {"train_loss": 97.0, "kl_per_dim": [1.0]},
        "files": ["x", "y"],
    }
    lines = record_table(found).lines()
    said = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert said["command"] == "dl vae train"
    assert said["machine.device"] == "cpu"
    assert said["config.loop.epochs"] == "80"
    assert said["config.snapshots"] == "0 10"
    assert said["config.model.skip"] == "no"
    assert said["last.train_loss"] == "97.00"
    assert said["elbo"] == "(nats) -96.12 ± 0.05"
    assert said["files"] == "2"


def test_a_bare_record_is_shown_too() -> None:
    assert record_table({"run": "/x", "metrics": None}).lines()[0].split() == ["run", "/x"]


def test_removals_add_up() -> None:
    removals = [
        Removal(path=Path("/runs/a"), reason="failed", size=1_500_000),
        Removal(path=Path("/runs/b"), reason="snapshot", size=500_000),
    ]
    lines = removals_table(removals).lines()
    assert lines[1].split() == ["/runs/a", "failed", "1.5", "MB"]
    assert lines[-1].split() == ["total:", "2", "paths", "2.0", "MB"]
