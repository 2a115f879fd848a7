"""`dl vae train`: what it says and writes, what it refuses, and how it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dlcli.engine.checkpoint import load_checkpoint
from dlcli.engine.config import load_yaml
from dlcli.engine.runs import RunFolder
from tests.cli.tiny import CONV, SIZES, TRAIN, contents, dl, dl_json, error_of, same, weights_of

pytestmark = pytest.mark.usefixtures("no_figures")

FIELDS = {"run", "data", "arch", "epochs", "images_per_s", "test", "signature"}


@pytest.mark.parametrize("arch", [[], CONV], ids=["mlp", "conv"])
def test_json_has_the_fields_that_scripts_rely_on(arch: list[str], tmp_path: Path) -> None:
    done = dl(*TRAIN, *arch, "--out", "ici été/a b", "--json")
    assert done.exit_code == 0
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert set(found) >= FIELDS
    assert found["run"] == str(tmp_path / "ici été" / "a b")
    assert (found["data"], found["epochs"]) == ("glyphs:40", 2)
    test = found["test"]
    assert test["elbo"] == pytest.approx(-(test["reconstruction"] + test["kl"]))
    assert found["images_per_s"] > 0
    assert "epochs:2" in found["signature"]
    record = RunFolder(Path(found["run"])).record()
    assert (record["status"], record["result"]) == ("done", found)


def test_without_json_the_result_is_a_table_and_progress_is_a_line_an_epoch() -> None:
    done = dl(*TRAIN, "--out", "a")
    assert done.exit_code == 0
    assert "test ELBO" in done.stdout
    assert "signature" in done.stdout
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith("epoch ")]) == 2
    assert "\x1b" not in done.output


def test_quiet_leaves_the_warnings() -> None:
    done = dl(*TRAIN, "--out", "a", "--quiet")
    assert done.exit_code == 0
    assert all(line.startswith("warning:") for line in done.stderr.splitlines())


def test_a_run_without_a_name_goes_under_runs(tmp_path: Path) -> None:
    run = Path(dl_json(*TRAIN)["run"])
    assert run.parent == tmp_path / "runs"
    assert run.name.endswith("_vae-mlp")


REFUSED: list[tuple[list[str], int, str, str]] = [
    (["--set", "optim.lrr=3"], 2, "config", "optim.lrr"),
    (["--set", "optim.lr=1e-3"], 2, "config", "optim.lr"),
    (["--set", "optim.lr"], 2, "config", "--set"),
    (["--lrr", "3"], 2, "usage", "--lrr"),
    (["--lr", "-1"], 2, "config", "lr"),
    (["--arch", "rnn"], 2, "usage", "--arch"),
    (["--config", "missing.yaml"], 2, "config", "missing.yaml"),
    (["--data", "glyphz"], 2, "config", "glyphz"),
    (["--data", "glyphs:0"], 2, "config", "glyphs:0"),
    (["--validation", "1000"], 2, "config", "--validation"),
    (["--patience", "1"], 2, "config", "--patience"),
    (["--k", "5"], 2, "config", "--k"),
    (["--skip"], 2, "config", "--skip"),
    (["--device", "gpu"], 2, "usage", "'gpu'"),
    (["--seeds", "0"], 2, "usage", "--seeds"),
    ([*CONV, "--train-images", "1"], 2, "config", "Batch normalisation"),
    ([*CONV, "--batch-size", "1"], 2, "config", "Batch normalisation"),
    (["--resume"], 2, "usage", "--resume"),
    (["--resume", "nowhere"], 2, "usage", "nowhere"),
    (["--init-from", "nowhere"], 2, "usage", "nowhere"),
]


@pytest.mark.parametrize(("words", "code", "kind", "names"), REFUSED)
def test_what_cannot_work_is_refused_in_a_sentence_before_anything_is_written(
    words: list[str], code: int, kind: str, names: str, tmp_path: Path
) -> None:
    done = dl(*TRAIN, *words, "--json")
    assert done.exit_code == code
    error = error_of(done)
    assert error["kind"] == kind
    assert names in error["message"]
    assert error["hint"]
    assert f"error: {error['message']}" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_here_is_refused_with_those_that_are() -> None:
    error = error_of(dl(*TRAIN, "--device", "cuda", "--json"))
    assert "no device 'cuda'" in error["message"]
    assert "cpu" in error["hint"]


@pytest.mark.parametrize(
    ("words", "updates"),
    [
        (["--batch-size", "1000"], 2),
        (["--train-images", "33"], 6),
        ([*CONV, "--train-images", "33"], 4),
        (["--batch-size", "1", "--train-images", "3"], 6),
        (["--epochs", "0"], 0),
        (["--precision", "bf16"], 6),
        (["--accumulate", "2"], 4),
    ],
)
def test_odd_sizes_train(words: list[str], updates: int, tmp_path: Path) -> None:
    found = dl_json(*TRAIN, *words, "--out", "a")
    state = load_checkpoint(tmp_path / "a/checkpoints/last.pt", kind="vae")
    assert state["position"]["step"] == updates
    assert found["test"]["elbo"] < 0


def test_an_existing_folder_is_kept_unless_forced(trained: Path, tmp_path: Path) -> None:
    before = contents(trained)
    done = dl(*TRAIN, "--out", str(trained), "--json")
    assert done.exit_code == 2
    assert "exists already" in error_of(done)["message"]
    assert contents(trained) == before
    assert dl_json(*TRAIN, "--out", str(trained), "--force", "--epochs", "1")["epochs"] == 1
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    error = error_of(dl(*TRAIN, "--out", "thesis", "--force", "--json"))
    assert "is not a run folder" in error["message"]


def test_init_from_takes_the_weights_and_nothing_else(trained: Path, tmp_path: Path) -> None:
    other = ["--lr", "0.01", "--batch-size", "8", "--epochs", "0"]
    found = dl_json(*TRAIN, *other, "--init-from", "mlp", "--out", "a")
    assert same(weights_of(tmp_path / "a"), weights_of(trained))
    assert found["test"] == RunFolder(trained).record()["result"]["test"]
    assert "|init:mlp|" in found["signature"]


def test_weights_of_another_network_are_refused_before_a_folder_is_made(
    trained_conv: Path, tmp_path: Path
) -> None:
    done = dl(*TRAIN, "--init-from", "conv", "--out", "a", "--json")
    error = error_of(done)
    assert (done.exit_code, error["kind"]) == (2, "config")
    assert error["hint"].startswith("Add --arch conv ")
    assert not (tmp_path / "a").exists()


DIVERGE = ["--optimizer", "sgd", "--lr", "1e6", "--warmup-steps", "300000000", "--epochs", "500"]


def test_a_loss_that_is_no_number_ends_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    done = dl(*TRAIN, *DIVERGE, "--out", "a", "--json")
    assert done.exit_code == 1
    error = error_of(done)
    assert "finite" in error["message"]
    assert "--lr" in error["hint"]
    run = RunFolder(tmp_path / "a")
    assert run.status == "failed"
    assert len(run.metrics()) >= 1
    assert all(w.isfinite().all() for w in weights_of(run.path).values() if w.is_floating_point())
    again = dl("vae", "train", "--resume", "a", "--json")
    assert error_of(again)["message"] == error["message"]


def test_seeds_are_trained_one_by_one_and_summed_up(tmp_path: Path) -> None:
    found = dl_json(*TRAIN, "--seeds", "3", "--seed", "7", "--out", "s")
    assert set(found) >= FIELDS | {"test_std", "seeds", "runs"}
    assert (found["run"], found["seeds"]) == (str(tmp_path / "s"), 3)
    assert [Path(run["run"]).name for run in found["runs"]] == ["seed-7", "seed-8", "seed-9"]
    elbos = torch.tensor([run["test"]["elbo"] for run in found["runs"]], dtype=torch.float64)
    assert found["test"]["elbo"] == pytest.approx(elbos.mean().item())
    assert found["test_std"]["elbo"] == pytest.approx(elbos.std().item())
    assert "|seed:7,8,9|" in found["signature"]


def test_seeds_go_on_without_their_settings_being_repeated(tmp_path: Path) -> None:
    dl_json(*TRAIN, "--seeds", "2", "--out", "s")
    done = dl(*TRAIN, "--seeds", "3", "--out", "s", "--json")
    assert "exists already" in error_of(done)["message"]
    done = dl("vae", "train", "--resume", "s", "--json")
    assert done.exit_code == 2
    assert "--seeds" in error_of(done)["hint"]
    before = contents(tmp_path / "s" / "seed-0")
    found = dl_json("vae", "train", "--resume", "s", "--seeds", "3")
    assert found["seeds"] == 3
    assert contents(tmp_path / "s" / "seed-0") == before
    assert "mean ± std" in dl("vae", "train", "--resume", "--out", "s", "--seeds", "3").stdout


def test_a_seed_that_fails_fails_the_command(tmp_path: Path) -> None:
    done = dl(*TRAIN, *DIVERGE, "--seeds", "2", "--json")
    assert done.exit_code == 1
    assert error_of(done)["message"].startswith("seed-0: ")


def test_each_way_of_saying_a_setting_is_stronger_than_the_one_before(tmp_path: Path) -> None:
    Path("mine.yaml").write_text("optim:\n  lr: 0.25\n  clip_norm: 0.5\nloop:\n  epochs: 9\n")
    words = ["--config", "mine.yaml", "--set", "optim.lr=0.5", "loop.epochs=8", "--epochs", "1"]
    train = ["vae", "train", "--data", "glyphs:40", *SIZES, *words]
    printed = dl(*train, "--print-config")
    assert (printed.exit_code, printed.stderr) == (0, "")
    dl_json(*train, "--out", "a")
    saved = load_yaml(tmp_path / "a/config.yaml")
    Path("printed.yaml").write_text(printed.stdout)
    assert load_yaml(Path("printed.yaml")) == saved
    assert saved["optim"] | {"lr": 0.5, "clip_norm": 0.5} == saved["optim"]
    assert (saved["loop"]["epochs"], saved["loop"]["batch_size"]) == (1, 64)
    again = dl("vae", "train", "--config", "a/config.yaml", "--print-config")
    assert again.stdout == printed.stdout
