"""`dl runs`: list, show, compare, prune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlcli import pretrained
from dlcli.cli import runs
from dlcli.display import runs_page
from dlcli.engine.runs import RunFolder
from tests.cli.tiny import TRAIN, contents, dl, dl_json, error_of

pytestmark = pytest.mark.usefixtures("no_figures")


def test_without_runs_the_list_says_how_to_make_one() -> None:
    assert dl_json("runs", "list") == {"runs": []}
    done = dl("runs", "list")
    assert done.exit_code == 0
    assert "There is no run under" in done.stdout
    assert "`dl vae train`" in done.stdout


def test_models_that_ship_have_a_purpose_a_size_and_a_score() -> None:
    rows = dl_json("models")["models"]
    assert [row["name"] for row in rows] == pretrained.names()
    for row in rows:
        assert row["purpose"]
        assert row["size_bytes"] > 100_000
        assert {"elbo", "bleu"} & set(row["metrics"])
        assert row["signature"]
    shown = dl("models").stdout
    assert "-89.0 ± 0.2 nats (ELBO)" in shown
    assert "signature vae" not in shown
    assert "`dl runs show NAME` has the signature" in shown


def test_list_names_runs_with_their_metrics_and_signatures(
    trained: Path, trained_conv: Path
) -> None:
    rows = {row["name"]: row for row in dl_json("runs", "list")["runs"]}
    assert set(rows) == {"mlp", "conv"}
    assert (rows["mlp"]["kind"], rows["mlp"]["status"], rows["mlp"]["epoch"]) == ("vae", "done", 2)
    assert rows["mlp"]["metrics"]["elbo"] < 0
    assert "arch:conv" in rows["conv"]["signature"]
    done = dl("runs", "list")
    assert all(word in done.stdout for word in ("mlp", "conv", "done", "dl runs show"))
    assert "signature " not in done.stdout.replace("the signature of", "")
    assert dl_json("runs", "list", "--kind", "nmt") == {"runs": []}


def test_a_killed_run_does_not_say_that_it_is_running(trained: Path) -> None:
    run = RunFolder(trained)
    run.update_record(status="running")
    assert dl_json("runs", "list")["runs"][0]["status"] == "killed"
    with run.locked():
        assert dl_json("runs", "list")["runs"][0]["status"] == "running"


@pytest.mark.parametrize("name", ["mlp", "latest", "runs/mlp"])
def test_show_says_all_about_a_run(name: str, trained: Path) -> None:
    found = dl_json("runs", "show", name)
    assert found["run"] == str(trained)
    assert found["config"]["model"]["hidden"] == [7]
    assert found["last"]["epoch"] == 2
    assert str(trained / "checkpoints/last.pt") in found["files"]
    shown = dl("runs", "show", name).stdout
    assert "model.hidden" in shown
    assert "optim.lr" not in shown, "it has its default"
    assert "optim.lr" in dl("runs", "show", name, "--all").stdout


def test_show_survives_a_damaged_run(trained: Path) -> None:
    (trained / "run.json").write_text("{")
    (trained / "metrics.jsonl").write_bytes(b"\xff\n")
    found = dl_json("runs", "show", "mlp")
    assert (found["status"], found["last"]) == ("no record", {})
    assert dl("runs", "list").exit_code == 0
    (trained / "config.yaml").write_text("- x")
    assert error_of(dl("runs", "show", "mlp", "--json"))["kind"] == "config"


def test_compare_shows_what_differs_and_draws_the_curves(
    trained: Path, trained_conv: Path, tmp_path: Path
) -> None:
    found = dl_json("runs", "compare", "mlp", "conv")
    assert found["differences"]["model.arch"] == ["mlp", "conv"]
    assert "optim.lr" not in found["differences"]
    assert found["files"] == [str(tmp_path / "runs/compare.png")]
    assert (tmp_path / "runs/compare.png").is_file()
    done = dl("runs", "compare", "mlp", "conv", "--plot", "x.svg")
    assert "model.arch" in done.stdout
    assert "warning" not in done.stderr
    assert Path("x.svg").is_file()


def test_compare_sets_numbers_of_different_things_apart(trained: Path) -> None:
    dl_json(*TRAIN, "--binarize", "dynamic", "--out", "runs/black")
    done = dl("runs", "compare", "mlp", "black")
    assert done.exit_code == 0
    assert "These runs differ in pixels" in done.stderr
    assert [line for line in done.stdout.splitlines() if line.strip().startswith("pixels: ")] == [
        "pixels: grey",
        "pixels: binarized-dynamically",
    ]


def test_export_writes_evaluations_as_csv(trained: Path, tmp_path: Path) -> None:
    found = dl_json("runs", "export", "mlp", "--csv", "--out", "new/a.csv")
    assert found == {"run": str(trained), "files": [str(tmp_path / "new/a.csv")]}
    head, *lines = Path("new/a.csv").read_text().splitlines()
    assert head.startswith("epoch,step,")
    assert len(lines) == 2


def test_page_shows_runs_and_follows_one_that_trains(
    trained: Path, trained_conv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dl_json("runs", "page", "mlp", "conv", "--out", "a.html")
    assert found["files"] == [str(tmp_path / "a.html")]
    assert found["runs"] == [str(trained), str(trained_conv)]
    states = iter(["running", "running", "done"])
    monkeypatch.setattr(runs_page, "newest_change", lambda _: [(next(states), 0)])
    lives: list[bool] = []
    whole = runs_page.runs_page

    def follow(*given: Any, is_live: bool, **named: Any) -> str:
        lives.append(is_live)
        return whole(*given, is_live=is_live, **named)

    monkeypatch.setattr(runs_page, "runs_page", follow)
    monkeypatch.setattr(runs, "WATCH_S", 0.0)
    assert dl("runs", "page", "mlp", "--watch").exit_code == 0
    assert lives == [True, False], "not again where nothing is new"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["page", "mlp", "--out", "x.pdf"], "x.pdf"),
        (["page", "mpl"], "mpl"),
        (["show", "mpl"], "mpl"),
        (["compare", "mlp"], "two runs"),
        (["compare", "mlp", "nowhere"], "nowhere"),
        (["prune"], "prune"),
        (["prune", "--keep", "-1"], "--keep"),
    ],
)
def test_what_cannot_be_done_is_refused(words: list[str], names: str, trained: Path) -> None:
    done = dl("runs", *words, "--json")
    assert done.exit_code == 2
    assert names in error_of(done)["message"]


def test_prune_says_what_would_go_and_removes_it_with_yes(
    trained: Path, trained_conv: Path
) -> None:
    RunFolder(trained).update_record(status="failed")
    before = contents(trained.parent)
    found = dl_json("runs", "prune", "--unfinished", "--epoch-checkpoints")
    assert found["removed"] is False
    assert found["bytes"] > 0
    snapshot = trained_conv / "checkpoints/epoch-0000.pt"
    assert found["paths"] == [str(trained), str(snapshot)]
    assert "--yes" in dl("runs", "prune", "--unfinished").stderr
    assert contents(trained.parent) == before
    assert (
        dl_json("runs", "prune", "--unfinished", "--epoch-checkpoints", "--yes")["removed"] is True
    )
    assert not trained.exists()
    assert not snapshot.exists()
    assert (trained_conv / "checkpoints/last.pt").exists()
