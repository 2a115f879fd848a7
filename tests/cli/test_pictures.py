"""`dl vae generate`, `reconstruct`, `interpolate`, `traverse`: files, fields, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dlcli.cli.app import app
from dlcli.cli.vae import PictureFiles
from dlcli.engine.config import resolve
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import RunLocation
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.training import train

COMMANDS: list[list[str]] = [
    ["generate", "--n", "5"],
    ["reconstruct", "--n", "3"],
    ["interpolate", "--steps", "3"],
    ["traverse", "--steps", "3"],
]
IDS = [words[0] for words in COMMANDS]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE trained for one epoch on a few glyphs."""
    folder = tmp_path_factory.mktemp("vae") / "run"
    given: dict[str, Any] = {
        "data": {"name": "glyphs:40"},
        "model": {"latent_dim": 3, "hidden": [7]},
        "loop": {"epochs": 1, "batch_size": 16},
        "compute": {"device": "cpu", "precision": "fp32"},
        "snapshots": [0],
    }
    for _ in train(resolve(VaeTrainConfig, [given]), location=RunLocation(out=folder)):
        pass
    return folder


def dl(*words: str) -> Result:
    return CliRunner().invoke(app, ["vae", *words])


def dl_json(*words: str) -> dict[str, Any]:
    done = dl(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_writes_a_figure_and_says_where(tiny_run: Path, tmp_path: Path, command: list[str]) -> None:
    found = dl_json(*command, "--run", str(tiny_run), "--out", str(tmp_path / "a b é.png"))
    assert found["run"] == str(tiny_run)
    assert found["files"] == [str(tmp_path / "a b é.png")]
    assert Path(found["files"][0]).read_bytes().startswith(b"\x89PNG")
    assert found["count"] == {"generate": 5, "traverse": 9}.get(command[0], 3)
    assert found["seed"] == 0
    assert "mean of p(x|z)" in found["label"]


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_the_same_seed_gives_the_same_bytes(
    tiny_run: Path, tmp_path: Path, command: list[str]
) -> None:
    made = []
    for name in ("a", "b"):
        out = str(tmp_path / name)
        found = dl_json(*command, "--run", str(tiny_run), "--out", out, "--format", "png", "npz")
        made.append([Path(file).read_bytes() for file in found["files"]])
    assert made[0] == made[1]
    assert len(made[0]) == 2


def test_pictures_go_to_the_runs_figures_by_default(tiny_run: Path) -> None:
    done = dl("generate", "--run", str(tiny_run), "--n", "2", "--seed", "3", "--draw")
    assert done.exit_code == 0
    label, file = done.stdout.splitlines()
    assert label == "Bernoulli draw from p(x|z)"
    assert file == str(tiny_run / "figures" / "generate-draw-seed3.png")
    assert f"Using {tiny_run}, checkpoint last." in done.stderr


def test_npz_holds_pixels_and_latents(tiny_run: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "x.npz")
    dl_json("reconstruct", "--run", str(tiny_run), "--images", "5", "0", "--out", out)
    with np.load(out) as held:
        assert held["inputs"].shape == held["images"].shape == (2, 28, 28)
        assert held["z"].shape == (2, 3)
        assert str(held["label"]) == "mean of p(x|z) at the mean of q(z|x)"


def test_show_prints_the_pictures_but_not_into_json(tiny_run: Path) -> None:
    words = ["generate", "--run", str(tiny_run), "--n", "2", "--show"]
    shown = dl(*words)
    assert len(shown.stdout.splitlines()) > 14
    assert dl_json(*words)["count"] == 2


def test_seeds_and_checkpoints_can_be_named(tiny_run: Path, tmp_path: Path) -> None:
    base = ["interpolate", "--run", str(tiny_run), "--steps", "4", "--out", str(tmp_path)]
    found = dl_json(*base, "--seeds", "3", "4", "--path", "linear", "--checkpoint", "epoch-0000")
    assert found["checkpoint"] == "epoch-0000"
    assert found["seed"] == 3
    assert "from seed 3 to seed 4 (linear)" in found["label"]
    assert Path(found["files"][0]).name == "interpolate-seeds-3-4.png"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "--format", "pgn"], "no picture format"),
        (["generate", "--run", "nowhere"], "no run 'nowhere'"),
        (["generate", "--out", "x.jpeg"], "no picture format"),
        (["reconstruct", "--images", "900"], "no test image 900"),
        (["reconstruct", "--images", "x"], "takes integers"),
        (["interpolate", "--images", "1", "--steps", "3"], "not two ends"),
        (["interpolate", "--images", "1", "2", "--seeds", "1", "2"], "different ends"),
        (["traverse", "--dims", "3"], "no latent dimension 3"),
    ],
)
def test_mistakes_are_named(tiny_run: Path, words: list[str], message: str) -> None:
    run = [] if "--run" in words else ["--run", str(tiny_run)]
    done = dl(*words, *run, "--json")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert message in error["message"]
    assert error["hint"]


@pytest.mark.parametrize(
    ("out", "formats", "expected"),
    [
        (None, None, ["f/n.png"]),
        (None, ["npz", "svg"], ["f/n.npz", "f/n.svg"]),
        ("a/b.pdf", None, ["a/b.pdf"]),
        ("a/b.pdf", ["png", "npz"], ["a/b.png", "a/b.npz"]),
        ("folder", None, ["folder/n.png"]),
    ],
)
def test_paths_follow_out_and_format(
    tmp_path: Path, out: str | None, formats: list[str] | None, expected: list[str]
) -> None:
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    found = PictureFiles("n", out=Path(out) if out else None, formats=formats).paths(run=run)
    assert [str(p).replace(str(run.figures), "f") for p in found] == expected


def test_pictures_of_an_exported_model_bear_its_name() -> None:
    exported = RunFolder(Path("models/best.v2"))
    assert PictureFiles("n", formats=["npz"]).paths(run=exported) == [Path("n-best.v2.npz")]
    assert PictureFiles("n").paths(run=None) == [Path("n.png")]
