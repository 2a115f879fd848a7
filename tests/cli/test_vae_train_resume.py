"""`dl vae train --resume`: how a run goes on, and what it refuses to go on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dlcli.engine.config import load_yaml
from dlcli.engine.runs import RunFolder
from tests.cli.tiny import SIZES, TRAIN, contents, dl, dl_json, error_of, same, weights_of

pytestmark = pytest.mark.usefixtures("no_figures")


def _resume(run: Path, *words: str) -> dict[str, Any]:
    return dl_json("vae", "train", "--resume", str(run), *words)


def test_a_finished_run_gives_its_result_again_and_changes_nothing(trained: Path) -> None:
    before = contents(trained)
    recorded = RunFolder(trained).record()["result"]
    for words in (
        ["--resume", str(trained)],
        ["--resume", "--out", "runs/mlp"],
        ["--resume", "mlp"],
    ):
        found = dl_json("vae", "train", *words)
        assert found == recorded | {"run": str(trained)}  # it was copied to where it is
    assert contents(trained) == before


def test_an_early_stopped_run_is_finished_too(tmp_path: Path) -> None:
    words = ["--validation", "20", "--patience", "1", "--lr", "0.05", "--epochs", "200"]
    found = dl_json(*TRAIN, *words, "--out", "a")
    assert found["reason"] == "early-stop"
    assert found["epochs"] < 200
    assert (tmp_path / "a/checkpoints/best.pt").is_file()
    before = contents(tmp_path / "a")
    assert _resume(tmp_path / "a") == found
    assert contents(tmp_path / "a") == before


def test_more_epochs_go_on_to_the_bits_of_a_longer_run(trained: Path, tmp_path: Path) -> None:
    longer = _resume(trained, "--epochs", "4")
    whole = dl_json(*TRAIN, "--epochs", "4", "--out", "whole")
    assert longer["test"] == whole["test"]
    assert same(weights_of(trained), weights_of(tmp_path / "whole"))
    assert [row["epoch"] for row in RunFolder(trained).metrics()] == [1, 2, 3, 4]


def test_a_time_limit_ends_cleanly_and_the_run_goes_on(tmp_path: Path) -> None:
    words = ["--epochs", "3", "--max-minutes", "1e-6", "--out", "a"]
    found = dl_json(*TRAIN, *words)
    assert (found["reason"], found["epochs"]) == ("max-minutes", 0)
    assert RunFolder(tmp_path / "a").status == "stopped"
    on = _resume(tmp_path / "a", "--max-minutes", "0")
    assert (on["reason"], on["epochs"]) == ("done", 3)
    assert on["test"] == dl_json(*TRAIN, "--epochs", "3", "--out", "whole")["test"]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["--lr", "0.5"], "optim.lr"),
        (["--batch-size", "8"], "loop.batch_size"),
        (["--set", "model.hidden=[9]"], "model.hidden"),
        (["--data", "glyphs:41"], "data.name"),
        (["--seed", "1"], "compute.seed"),
        (["--precision", "bf16"], "compute.precision"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--epochs", "3"]], ids=["finished", "longer"])
def test_a_changed_setting_is_refused_by_its_name(
    words: list[str], key: str, more: list[str], trained: Path
) -> None:
    before = contents(trained)
    done = dl("vae", "train", "--resume", str(trained), *words, *more, "--json")
    assert done.exit_code == 2
    assert key in error_of(done)["message"]
    assert contents(trained) == before


def test_a_record_that_is_gone_is_written_anew(trained: Path) -> None:
    result = RunFolder(trained).record()["result"]
    (trained / "run.json").unlink()
    found = _resume(trained)
    assert found["test"] == result["test"]
    assert RunFolder(trained).record()["status"] == "done"


@pytest.mark.parametrize("damage", ["cut", "garbage", "gone", "one byte"])
def test_damaged_metrics_cost_their_lines_and_nothing_else(damage: str, trained: Path) -> None:
    run = RunFolder(trained)
    data = run.metrics_file.read_bytes()
    if damage == "gone":
        run.metrics_file.unlink()
    else:
        damaged = {"cut": data[:-20], "garbage": b"\xff\x00{" * 50, "one byte": b"{"}[damage]
        run.metrics_file.write_bytes(damaged)
    assert _resume(trained, "--epochs", "3")["epochs"] == 3
    assert run.metrics()[-1]["epoch"] == 3
    assert json.loads(run.metrics_file.read_bytes().splitlines()[-1])["epoch"] == 3


def test_settings_that_are_damaged_are_a_sentence(trained: Path) -> None:
    (trained / "config.yaml").write_bytes(b"data: [\xff")
    done = dl("vae", "train", "--resume", str(trained), "--json")
    assert done.exit_code == 2
    assert "config.yaml" in error_of(done)["message"]


def _damage(run: Path, other: Path, how: str) -> None:
    """Damage the last checkpoint of `run`; `other` is a run of another architecture."""
    path = RunFolder(run).checkpoint()
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    damaged = {
        "cut in half": data[: len(data) // 2],
        "flipped byte": bytes(flipped),
        "empty": b"",
        "other arch": RunFolder(other).checkpoint().read_bytes(),
        "newer format": data.replace(b'"format": 1', b'"format": 9'),
        "pickle": b"cos\nsystem\n(S'touch hacked'\ntR.",
    }
    path.write_bytes(damaged[how])


@pytest.mark.parametrize(
    "how", ["cut in half", "flipped byte", "empty", "other arch", "newer format", "pickle"]
)
def test_a_checkpoint_that_is_not_right_is_refused_in_a_sentence(
    how: str, trained: Path, trained_conv: Path, tmp_path: Path
) -> None:
    _damage(trained, trained_conv, how)
    before = contents(trained / "checkpoints") | contents(trained / "figures")
    done = dl("vae", "train", "--resume", str(trained), "--epochs", "3", "--json")
    assert done.exit_code == 1
    error = error_of(done)
    assert error["kind"] == "checkpoint"
    assert error["hint"]
    assert contents(trained / "checkpoints") | contents(trained / "figures") == before
    assert len(RunFolder(trained).metrics()) == 2
    done = dl(*TRAIN, "--init-from", str(trained), "--out", "started", "--json")
    refused = (2, "config") if how == "other arch" else (1, "checkpoint")
    assert (done.exit_code, error_of(done)["kind"]) == refused
    assert not (tmp_path / "started").exists()
    assert not list(tmp_path.rglob("hacked"))


def test_a_run_stopped_before_its_settings_were_saved_starts_over(tmp_path: Path) -> None:
    (tmp_path / "a" / "checkpoints").mkdir(parents=True)
    done = dl(*TRAIN, "--resume", "--out", "a", "--json")
    assert done.exit_code == 0
    assert "starting over" in done.stderr
    assert json.loads(done.stdout)["epochs"] == 2


def test_a_run_stopped_before_its_first_checkpoint_starts_over(
    trained: Path, tmp_path: Path
) -> None:
    expected = weights_of(trained)
    shutil.rmtree(trained / "checkpoints")
    (trained / "checkpoints").mkdir()
    RunFolder(trained).update_record(status="running")
    assert _resume(trained)["epochs"] == 2
    assert same(weights_of(trained), expected)
    assert len(RunFolder(trained).metrics()) == 2


def test_what_it_started_from_is_remembered_where_the_run_starts_over(
    trained: Path, tmp_path: Path
) -> None:
    dl_json(*TRAIN, "--init-from", "mlp", "--out", "a")
    expected = weights_of(tmp_path / "a")
    for path in (tmp_path / "a/checkpoints").iterdir():
        path.unlink()
    (tmp_path / "a/run.json").write_text(
        json.dumps({**RunFolder(tmp_path / "a").record(), "status": "running"})
    )
    _resume(tmp_path / "a")
    assert same(weights_of(tmp_path / "a"), expected)


def test_the_config_of_a_resumed_run_is_its_own(trained: Path) -> None:
    printed = dl("vae", "train", "--resume", "mlp", "--epochs", "5", "--print-config")
    Path("printed.yaml").write_text(printed.stdout)
    saved = load_yaml(trained / "config.yaml")
    saved["loop"]["epochs"] = 5
    assert load_yaml(Path("printed.yaml")) == saved


def test_auto_means_the_same_data_when_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcli.data.images.GLYPHS_TRAIN", 42)
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "nothing"))
    words = ["--data", "auto", "--offline", *SIZES, "--batch-size", "16", "--epochs", "1"]
    done = dl("vae", "train", *words, "--out", "a", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["data"] == "glyphs"
    assert "glyphs" in done.stderr
    assert load_yaml(tmp_path / "a/config.yaml")["data"]["name"] == "glyphs"
    assert _resume(tmp_path / "a", "--epochs", "2", "--data", "auto")["data"] == "glyphs"
