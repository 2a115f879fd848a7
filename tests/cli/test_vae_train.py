"""`dl vae train` and `dl vae compare`: what they say and write, refuse, and resume."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcli.cli.app import app
from dlcli.engine.checkpoint import load_checkpoint
from dlcli.engine.config import load_yaml, resolve
from dlcli.engine.runs import RunFolder, find_run
from dlcli.vae.config import VaeTrainConfig, with_images
from tests.cli.tiny import (
    CONV,
    LENGTH,
    SIZES,
    TRAIN,
    contents,
    dl,
    dl_json,
    error_of,
    same,
    weights_of,
)
from tests.display.terminals import Terminal
from tests.engine.toy import needs_bf16

pytestmark = pytest.mark.usefixtures("no_figures")

GRID = ["vae", "compare", *LENGTH, *SIZES, "--snapshots", "9", "--set", "optim.lr=0.001,0.1"]
LABELS = ["optim.lr=0.001", "optim.lr=0.1"]


def test_every_cell_is_trained_into_a_folder_of_its_own(tmp_path: Path) -> None:
    found = dl_json(*GRID, "--out", "grid")
    assert found["run"] == str(tmp_path / "grid")
    assert list(found["results"]) == LABELS
    assert found["best"] == "optim.lr=0.1"
    assert found["failed"] == []
    assert found["files"] == [str(tmp_path / "grid/compare.png")]
    assert (tmp_path / "grid/compare.png").read_bytes().startswith(b"\x89PNG")
    for label, result in found["results"].items():
        assert result["run"] == str(tmp_path / "grid" / label)
        assert f"adam-{label.removeprefix('optim.lr=')}-" in result["signature"]


def test_losses_of_unlike_likelihoods_have_no_best() -> None:
    several = [*GRID[:-1], "objective.likelihood=bernoulli,logistic", "--out", "grid"]
    found = dl_json(*several)
    assert (found["best"], found["close"]) == (None, [])
    assert "These runs differ in likelihood" in dl(*several, "--force").stderr


def test_it_goes_on_without_its_other_settings_being_repeated(tmp_path: Path) -> None:
    first = dl_json(*GRID, "--out", "grid")
    before = contents(tmp_path / "grid" / LABELS[0])
    words = ["vae", "compare", "--resume", "grid", "--set", "optim.lr=0.001,0.1,0.2"]
    found = dl_json(*words, "--plot", "other.png")
    assert list(found["results"]) == [*LABELS, "optim.lr=0.2"]
    assert found["results"][LABELS[1]] == first["results"][LABELS[1]]
    assert contents(tmp_path / "grid" / LABELS[0]) == before
    assert Path("other.png").is_file()


def test_a_cell_that_diverges_costs_a_warning_and_its_place(tmp_path: Path) -> None:
    words = ["--optimizer", "sgd", "--set", "optim.lr=0.0001,1000000.0"]
    done = dl(*GRID[:-2], *words, "--out", "grid")
    assert done.exit_code == 0
    assert "warning: optim.lr=1000000.0: " in done.stderr
    assert "optim.lr=0.0001" in done.stdout
    found = dl_json(*GRID[:-2], *words, "--resume", "grid")
    assert found["failed"] == ["optim.lr=1000000.0"]


def test_a_grid_wants_several_values() -> None:
    done = dl("vae", "compare", "--set", "optim.lr=0.1", "--json")
    assert done.exit_code == 2
    assert "several values" in error_of(done)["message"]


def test_a_grid_that_never_started_leaves_no_folder(tmp_path: Path) -> None:
    done = dl(*GRID, "--data", "glyphs:0", "--json")
    assert done.exit_code == 2
    assert list((tmp_path / "runs").iterdir()) == []


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
    assert lines[0].startswith("vae-mlp on glyphs:40 (40 images): 2 epochs of 3 updates, in ")
    assert [line.split()[0] for line in lines if line[:1] == " " and "--" not in line] == ["1", "2"]
    assert "\x1b" not in done.output


REFUSED: list[tuple[list[str], int, str, str]] = [
    (["--set", "optim.lrr=3"], 2, "config", "optim.lrr"),
    (["--set", "optim.lr=fast"], 2, "config", "optim.lr"),
    (["--set", "optim.lr"], 2, "config", "--set"),
    (["--lrr", "3"], 2, "usage", "--lrr"),
    (["--lr", "-1"], 2, "config", "lr"),
    (["--arch", "rnn"], 2, "usage", "--arch"),
    (["--config", "missing.yaml"], 2, "config", "missing.yaml"),
    (["--data", "glyphz"], 2, "config", "glyphz"),
    (["--data", ""], 2, "config", "data set is empty"),
    (["--data", "glyphs:0"], 2, "config", "glyphs:0"),
    (["--validation", "1000"], 2, "config", "--validation"),
    (["--patience", "1"], 2, "config", "--patience"),
    (["--k", "5"], 2, "config", "--k"),
    (["--skip"], 2, "config", "--skip"),
    (["--device", "gpu"], 2, "usage", "'gpu'"),
    (["--seeds", "0"], 2, "usage", "--seeds"),
    ([*CONV, "--train-images", "1"], 2, "config", "Batch normalisation"),
    ([*CONV, "--batch-size", "1"], 2, "config", "Batch normalisation"),
    ([*CONV, "--norm", "frozen"], 2, "config", "--norm frozen"),
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


@pytest.mark.parametrize(
    ("words", "updates"),
    [
        (["--batch-size", "1000"], 2),
        (["--train-images", "33"], 6),
        ([*CONV, "--train-images", "33"], 4),
        (["--batch-size", "1", "--train-images", "3"], 6),
        (["--epochs", "0"], 0),
        pytest.param(["--precision", "bf16"], 6, marks=needs_bf16),
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
    whole = resolve(VaeTrainConfig, [load_yaml(Path("printed.yaml"))])
    assert with_images(whole, (28, 28)) == resolve(VaeTrainConfig, [saved])
    assert saved["optim"] | {"lr": 0.5, "clip_norm": 0.5} == saved["optim"]
    assert (saved["loop"]["epochs"], saved["loop"]["batch_size"]) == (1, 64)
    again = dl("vae", "train", "--config", "a/config.yaml", "--print-config")
    Path("again.yaml").write_text(again.stdout)
    assert load_yaml(Path("again.yaml")) == saved


def test_a_disk_that_fills_up_keeps_the_last_checkpoint_and_goes_on_with_more_room(
    tiny_disk: Path, tmp_path: Path
) -> None:
    run = RunFolder(tiny_disk / "a")
    first = [*TRAIN, "--snapshots", "", "--epochs", "1", "--out", str(run.path)]
    dl_json(*first)
    before = run.checkpoint().read_bytes()
    free = 2**20 - sum(f.stat().st_size for f in tiny_disk.rglob("*") if f.is_file())
    (tiny_disk / "ballast").write_bytes(b"x" * max(0, free - len(before) // 2 - 8192))
    go_on = ("vae", "train", "--resume", str(run.path), "--epochs", "3")
    done = dl(*go_on, "--json")
    assert done.exit_code == 1
    error = error_of(done)
    assert "No space left" in error["message"]
    assert "Free some space" in error["hint"]
    assert run.checkpoint().read_bytes() == before
    (tiny_disk / "ballast").unlink()
    dl_json(*go_on)
    dl_json(*first[:-3], "3", "--out", str(tmp_path / "b"))
    assert same(weights_of(run.path), weights_of(tmp_path / "b"))


def test_a_disk_that_became_read_only_is_a_sentence_and_its_run_is_still_of_use(
    tiny_disk: Path,
) -> None:
    run = str(tiny_disk / "a")
    dl_json(*TRAIN, "--snapshots", "", "--epochs", "1", "--out", run)
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    for words in (
        ["vae", "train", "--resume", run, "--epochs", "3"],
        [*TRAIN, "--out", str(tiny_disk / "b")],
        [*TRAIN, "--out", run, "--force"],
        ["vae", "generate", "--run", run, "--n", "1"],
        ["runs", "export", run, "--out", str(tiny_disk / "c")],
    ):
        done = dl(*words, "--json")
        assert done.exit_code == 1
        assert "Read-only file system" in error_of(done)["message"]
    dl_json("vae", "generate", "--run", run, "--n", "1", "--out", "here.png")
    assert dl_json("runs", "show", run)["status"] == "done"


def test_a_clock_that_goes_back_changes_neither_latest_nor_the_result(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dl_json(*TRAIN)
    monkeypatch.setattr(time, "strftime", lambda _form: "1999-12-31_23-59")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    found = dl_json(*TRAIN)
    assert Path(found["run"]).name == "1999-12-31_23-59_vae-mlp"
    assert find_run("latest").path == Path(found["run"])
    assert same(weights_of(Path(found["run"])), weights_of(trained))
    assert found["images_per_s"] > 0


def test_on_a_terminal_there_is_a_bar_with_pictures_and_the_cursor_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("dlcli.engine.loop.PROGRESS_EVERY_S", 0.0)
    app([*TRAIN, *CONV, "--out", "a"], standalone_mode=False)
    text = err.getvalue()
    assert "epoch 2/2" in text
    assert "▀" in text, "the newest pictures, in half blocks"
    assert "before training, the same z" in text
    assert "after epoch 1, the same z" in text, "whatever --snapshots says"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is given back"
    assert "test ELBO" in out.getvalue()
    assert "epoch 2/2" not in out.getvalue(), "progress stays on standard error"


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


def test_more_epochs_go_on_to_the_bits_of_a_longer_run(trained: Path, tmp_path: Path) -> None:
    longer = _resume(trained, "--epochs", "4")
    whole = dl_json(*TRAIN, "--epochs", "4", "--out", "whole")
    assert longer["test"] == whole["test"]
    assert same(weights_of(trained), weights_of(tmp_path / "whole"))
    assert [row["epoch"] for row in RunFolder(trained).metrics()] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["--lr", "0.5"], "optim.lr"),
        (["--batch-size", "8"], "loop.batch_size"),
        (["--set", "model.hidden=[9]"], "model.hidden"),
        (["--data", "glyphs:41"], "data.name"),
        (["--seed", "1"], "compute.seed"),
        pytest.param(["--precision", "bf16"], "compute.precision", marks=needs_bf16),
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


def test_another_image_size_is_named_rather_than_the_feature_maps(trained_conv: Path) -> None:
    done = dl("vae", "train", "--resume", str(trained_conv), "--image-size", "64", "--json")
    assert (done.exit_code, error_of(done)["kind"]) == (2, "config")
    assert "data.image_size = 28x28, not 64x64" in error_of(done)["message"]


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


def test_the_config_of_a_resumed_run_is_its_own(trained: Path) -> None:
    printed = dl("vae", "train", "--resume", "mlp", "--epochs", "5", "--print-config")
    Path("printed.yaml").write_text(printed.stdout)
    saved = load_yaml(trained / "config.yaml")
    saved["loop"]["epochs"] = 5
    assert load_yaml(Path("printed.yaml")) == saved


def test_auto_means_the_same_data_when_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcli.data.images.DRAWN_TRAIN", 42)
    monkeypatch.setenv("DL_DATA_DIR", str(tmp_path / "nothing"))
    words = ["--data", "auto", "--offline", *SIZES, "--batch-size", "16", "--epochs", "1"]
    done = dl("vae", "train", *words, "--out", "a", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["data"] == "glyphs"
    assert "glyphs" in done.stderr
    assert load_yaml(tmp_path / "a/config.yaml")["data"]["name"] == "glyphs"
    assert _resume(tmp_path / "a", "--epochs", "2", "--data", "auto")["data"] == "glyphs"
