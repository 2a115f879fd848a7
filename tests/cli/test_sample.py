"""`dl sample`: files, fields, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dlcli.cli.app import app
from tests.cli import test_pictures

tiny_run = test_pictures.tiny_run


def dl(*words: str) -> Result:
    return CliRunner().invoke(app, ["sample", *words])


def dl_json(*words: str) -> dict[str, Any]:
    done = dl(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_shows_means_beside_draws_of_a_run(tiny_run: Path, tmp_path: Path) -> None:
    words = ["--run", str(tiny_run), "--n", "3", "--draws", "2", "--seed", "5"]
    found = dl_json(*words, "--out", str(tmp_path), "--format", "png", "npz")
    assert found["run"] == str(tiny_run)
    assert (found["count"], found["seed"], found["draws"]) == (3, 5, 2)
    assert np.shape(found["z"]) == (3, 3)
    assert np.shape(found["log_joint"]) == (3, 2)
    png, npz = map(Path, found["files"])
    assert png == tmp_path / "sample-seed5.png"
    with np.load(npz) as held:
        assert held["means"].shape == (3, 28, 28)
        assert held["draws"].shape == (3, 2, 28, 28)
        assert set(np.unique(held["draws"])) == {0, 1}
    assert "mean of p(x|z), then 2 Bernoulli draws" in found["label"]
    assert "estimator:ancestral|data:glyphs:40" in found["signature"]


def test_the_same_seed_gives_the_same_bytes(tiny_run: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a.png", "b.png"):
        dl_json("--run", str(tiny_run), "--n", "2", "--out", str(tmp_path / name))
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]


def test_a_fresh_decoder_needs_no_run_and_writes_here(tmp_path: Path) -> None:
    done = dl("--untrained", "--arch", "conv", "--latent-dim", "2", "--n", "2")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1] == str(tmp_path / "sample-untrained-conv-seed0.png")
    assert not done.stderr


def test_latents_can_be_reused_across_models(tiny_run: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "z.npz")
    first = dl_json("--run", str(tiny_run), "--n", "4", "--out", file)
    words = ["--untrained", "--latent-dim", "3", "--z", file, "--out", str(tmp_path / "u.png")]
    assert dl_json(*words)["z"] == first["z"]
    assert dl_json(*words, "--n", "2")["z"] == first["z"][:2]


def test_show_prints_the_pictures_but_not_into_json(tiny_run: Path, tmp_path: Path) -> None:
    words = ["--run", str(tiny_run), "--n", "1", "--out", str(tmp_path), "--show"]
    assert len(dl(*words).stdout.splitlines()) > 5
    assert dl_json(*words)["count"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", "x", "--untrained"], "--untrained is no run"),
        (["--arch", "conv"], "--arch describes a fresh decoder"),
        (["--latent-dim", "3"], "--latent-dim describes a fresh decoder"),
        (["--run", "nowhere"], "no run 'nowhere'"),
        (["--untrained", "--z", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["--untrained", "--format", "pgn"], "no picture format"),
        (["--untrained", "--n", "0"], "--n"),
        (["--untrained", "--n", "1000000", "--latent-dim", "1"], "do not fit into memory"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str) -> None:
    done = dl(*words, "--json")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert message in error["message"]
    assert error["hint"]


def test_latents_of_another_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "z.txt").write_text("1 2\n")
    done = dl("--untrained", "--z", "z.txt", "--json")
    assert done.exit_code == 2
    assert "2 dimensions and the model 20" in json.loads(done.stdout)["error"]["message"]
