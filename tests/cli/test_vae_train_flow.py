"""A run with a learned prior through the commands that take a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.tiny import TRAIN, dl, dl_json, same, weights_of

IWAE = ["--objective", "iwae", "--k", "2"]
FLOW = ["--prior", "flow", "--flow-layers", "3", "--flow-hidden", "4"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_takes_a_run_with_a_learned_prior(folder: Path) -> None:
    trained = dl_json(*TRAIN, *IWAE, *FLOW, "--binarize", "dynamic", "--out", "runs/a")
    assert "prior:flow-3-4" in trained["signature"]
    assert trained["kl_per_dim"] == []
    shown = dl("vae", "eval", "runs/a", "--k", "20", "--images", "4", "--ais")
    assert shown.exit_code == 0
    assert "KL per dimension" not in shown.stdout
    found = dl_json("vae", "eval", "runs/a", "--k", "20", "--images", "4")
    assert found["kl_per_dim"] == []
    assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["kl"], rel=1e-5)
    dl_json("mc-estimate", "--run", "runs/a", "--images", "1", "--samples", "20")
    dl_json("vae", "traverse", "--run", "runs/a", "--steps", "3")
    dl_json("vae", "interpolate", "--run", "runs/a", "--images", "0", "1", "--steps", "3")
    dl_json("sample", "--run", "runs/a", "--n", "2")
    dl_json("vae", "gradients", "--run", "runs/a", "--images", "2", "--samples", "4")
    label = dl_json("vae", "reconstruct", "--run", "runs/a", "--n", "2")["label"]
    assert label.endswith("the encoder's mean")


def test_an_exported_run_draws_the_same_pictures(folder: Path) -> None:
    dl_json(*TRAIN, *IWAE, *FLOW, "--out", "runs/a")
    dl_json("runs", "export", "runs/a", "--out", "runs/b", "--whole")
    for run in ("a", "b"):
        dl_json("vae", "generate", "--run", f"runs/{run}", "--n", "3", "--out", f"{run}.npz")
    drawn = dl_json("vae", "traverse", "--run", "runs/b", "--steps", "3")["files"]
    assert [Path(file).name for file in drawn] == ["traverse-b.png"]
    one, two = (np.load(f"{run}.npz") for run in ("a", "b"))
    assert all(np.array_equal(one[name], two[name]) for name in one.files)


def test_a_stopped_training_goes_on_to_the_same_bits(folder: Path) -> None:
    words = [*TRAIN, "--objective", "iwae", "--k", "4", "--backward-samples", "2", *FLOW]
    dl_json(*words, "--out", "runs/whole")
    stopped = dl_json(*words, "--max-minutes", "1e-6", "--out", "runs/stopped")
    assert stopped["reason"] == "max-minutes"
    dl_json("vae", "train", "--resume", "runs/stopped", "--max-minutes", "0")
    assert same(weights_of(Path("runs/stopped")), weights_of(Path("runs/whole")))


def test_what_a_flow_cannot_be_is_said_before_anything_is_made(folder: Path) -> None:
    for words, said in (
        (["--prior", "flow"], "--objective iwae"),
        (["--flow-layers", "3"], "--prior flow"),
        ([*IWAE, "--prior", "flow", "--latent-dim", "1"], "--latent-dim 2 or more"),
    ):
        done = dl(*TRAIN, *words, "--out", "runs/none")
        assert done.exit_code == 2
        assert said in " ".join(done.output.split())
    assert not Path("runs").exists()


def test_weights_of_a_learned_prior_want_one(folder: Path) -> None:
    dl_json(*TRAIN, *IWAE, *FLOW, "--out", "runs/a")
    done = dl(*TRAIN, *IWAE, "--init-from", "runs/a", "--out", "runs/b")
    assert done.exit_code == 2
    assert "Add --prior flow --flow-layers 3 --flow-hidden 4." in " ".join(done.output.split())


def test_an_exported_model_is_not_written_into_by_a_training(folder: Path) -> None:
    dl_json(*TRAIN, *IWAE, *FLOW, "--out", "runs/a")
    dl_json("runs", "export", "runs/a", "--out", "runs/b")
    before = {path.name: path.read_bytes() for path in Path("runs/b").iterdir()}
    done = dl("vae", "train", "--resume", "runs/b", "--epochs", "9")
    assert done.exit_code == 2
    assert "--init-from" in done.output
    assert {path.name: path.read_bytes() for path in Path("runs/b").iterdir()} == before
