"""`dl vae generate`, `reconstruct`, `interpolate`, `traverse` and `dl sample`: files and fields."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcli.cli.vae import PictureFiles
from dlcli.engine.runs import RunFolder
from tests.cli.tiny import dl, dl_json, error_of

COMMANDS: dict[str, list[str]] = {
    "generate": ["vae", "generate", "--n", "5"],
    "reconstruct": ["vae", "reconstruct", "--n", "3"],
    "interpolate": ["vae", "interpolate", "--steps", "3"],
    "traverse": ["vae", "traverse", "--steps", "3"],
    "sample": ["sample", "--n", "2"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_writes_files_and_says_where_and_the_same_seed_gives_the_same_bytes(
    tiny_run: Path, tmp_path: Path, name: str
) -> None:
    made = []
    for folder in ("a b é", "b"):
        (tmp_path / folder).mkdir()
        out = ["--out", str(tmp_path / folder), "--format", "png", "npz"]
        found = dl_json(*COMMANDS[name], "--run", str(tiny_run), *out)
        assert (found["run"], found["seed"]) == (str(tiny_run), 0)
        assert found["count"] == {"generate": 5, "traverse": 9, "sample": 2}.get(name, 3)
        assert "mean of p(x|z)" in found["label"]
        png, npz = map(Path, found["files"])
        assert png.parent == tmp_path / folder
        assert png.read_bytes().startswith(b"\x89PNG")
        made.append((png.read_bytes(), npz.read_bytes()))
    assert made[0] == made[1]


def test_pictures_go_to_the_runs_figures_by_default(tiny_run: Path) -> None:
    done = dl("vae", "generate", "--run", str(tiny_run), "--n", "2", "--seed", "3", "--draw")
    assert done.exit_code == 0
    label, file = done.stdout.splitlines()
    assert label == "Bernoulli draw from p(x|z)"
    assert file == str(tiny_run / "figures" / "generate-draw-seed3.png")
    assert f"Using {tiny_run}, checkpoint last." in done.stderr


@pytest.mark.parametrize("name", ["generate", "sample"])
def test_show_prints_the_pictures_but_not_into_json(
    tiny_run: Path, tmp_path: Path, name: str
) -> None:
    words = [*COMMANDS[name], "--run", str(tiny_run), "--out", str(tmp_path), "--show"]
    assert len(dl(*words).stdout.splitlines()) > 7
    assert dl_json(*words)["count"] > 0


@pytest.mark.parametrize(
    ("words", "said", "whole"),
    [
        ("vae generate --n 20", "the first 6 of 20", 20),
        ("vae traverse --steps 3", "the first 2 rows", 9),
        ("vae reconstruct --n 8", "the first 1 row", 8),
        ("sample --n 6 --draws 2", "the first 2 rows", 6),
    ],
)
def test_a_picture_of_too_many_shows_the_first_and_an_npz_has_all(
    words: str, said: str, whole: int, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcli.cli.vae.MOST_DRAWN", 6)
    base = [*words.split(), "--run", str(tiny_run), "--out", "."]
    done = dl(*base)
    assert f"The picture shows {said}; --format npz writes all." in done.stderr
    done = dl(*base, "--format", "png", "npz")
    assert f"{said}; the npz has all." in done.stderr
    with np.load(done.stdout.splitlines()[-1]) as held:
        assert len(held["z"]) == whole
    assert "shows" not in dl(*base, "--format", "npz").stderr


def test_seeds_and_checkpoints_can_be_named(tiny_run: Path, tmp_path: Path) -> None:
    base = [*COMMANDS["interpolate"], "--run", str(tiny_run), "--out", str(tmp_path)]
    found = dl_json(*base, "--seeds", "3", "4", "--path", "linear", "--checkpoint", "epoch-0000")
    assert (found["checkpoint"], found["seed"]) == ("epoch-0000", 3)
    assert "from seed 3 to seed 4 (linear)" in found["label"]
    assert Path(found["files"][0]).name == "interpolate-seeds-3-4.png"


def arrays(*words: str, run: Path) -> dict[str, np.ndarray]:
    """Run a command and return what its npz holds."""
    file = dl_json(*words, "--run", str(run), "--out", "x.npz")["files"][0]
    with np.load(file) as held:
        return {name: held[name] for name in held.files}


def test_inputs_and_reconstructions_come_in_pairs(tiny_run: Path) -> None:
    held = arrays("vae", "reconstruct", "--image", "5", "0", "3", run=tiny_run)
    assert held["inputs"].shape == held["images"].shape == (3, 28, 28)
    assert held["z"].shape == (3, 3)
    assert not np.array_equal(held["inputs"], held["images"])
    assert str(held["label"]) == "mean of p(x|z) at the mean of q(z|x)"


def test_the_flag_of_old_still_names_two_images_or_more(tiny_run: Path) -> None:
    new, old = (
        arrays("vae", "reconstruct", flag, "5", "0", run=tiny_run)
        for flag in ("--image", "--images")
    )
    assert np.array_equal(new["inputs"], old["inputs"])


def test_a_sample_has_means_beside_draws(tiny_run: Path) -> None:
    words = ["sample", "--n", "3", "--draws", "2", "--seed", "5"]
    found = dl_json(*words, "--run", str(tiny_run), "--out", "x.npz")
    assert (found["count"], found["seed"], found["draws"]) == (3, 5, 2)
    assert np.shape(found["z"]) == (3, 3)
    assert np.shape(found["log_joint"]) == (3, 2)
    assert "mean of p(x|z), then 2 Bernoulli draws" in found["label"]
    assert "estimator:ancestral|data:glyphs:40" in found["signature"]
    held = arrays(*words, run=tiny_run)
    assert held["means"].shape == (3, 28, 28)
    assert held["draws"].shape == (3, 2, 28, 28)
    assert set(np.unique(held["draws"])) == {0, 1}


def test_a_fresh_decoder_needs_no_run_and_writes_here(tmp_path: Path) -> None:
    done = dl("sample", "--untrained", "--arch", "conv", "--latent-dim", "2", "--n", "2")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1] == str(
        tmp_path / "runs/pictures/sample-untrained-conv-seed0.png"
    )
    assert not done.stderr


def test_latents_can_be_reused_across_models(tiny_run: Path, tmp_path: Path) -> None:
    first = dl_json("sample", "--run", str(tiny_run), "--n", "4", "--out", "z.npz")
    words = ["sample", "--untrained", "--latent-dim", "3", "--z", "z.npz", "--out", "u.png"]
    assert dl_json(*words)["z"] == first["z"]
    assert dl_json(*words, "--n", "2")["z"] == first["z"][:2]
    (tmp_path / "z.txt").write_text("1 2\n")
    error = error_of(dl("sample", "--untrained", "--z", "z.txt", "--json"))
    assert "2 dimensions and the model 20" in error["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("vae generate --format pgn", "no picture format"),
        ("vae generate --run nowhere", "no run 'nowhere'"),
        ("vae generate --out x.jpeg", "no picture format"),
        ("vae generate --n 0", "--n"),
        ("vae reconstruct --image 900", "no test image 900"),
        ("vae reconstruct --image=-1", "no test image -1"),
        ("vae reconstruct --image x", "cannot be read"),
        ("vae reconstruct --image=", "at least one value"),
        ("vae reconstruct --images 5", "could be that many images"),
        ("vae reconstruct --images 5 6 --image 5", "old name of --image"),
        ("vae reconstruct --n 9999", "no test image"),
        ("vae interpolate --image 1 --steps 3", "A path has two ends"),
        ("vae interpolate --seeds 1", "A path has two ends"),
        ("vae interpolate --seeds 1 2 3", "A path has two ends"),
        ("vae interpolate --seeds 1 2 --steps 1", "--steps"),
        ("vae interpolate --image 1 2 --seeds 1 2", "different ends"),
        ("vae traverse --dims 3", "no latent dimension 3"),
        ("sample --run x --untrained", "--untrained is no run"),
        ("sample --arch conv", "--arch describes a fresh decoder"),
        ("sample --latent-dim 3", "--latent-dim describes a fresh decoder"),
        ("sample --run nowhere", "no run 'nowhere'"),
        ("sample --untrained --z nowhere.txt", "nowhere.txt cannot be read"),
        ("sample --untrained --format pgn", "no picture format"),
        ("sample --untrained --n 0", "--n"),
        ("sample --untrained --n 1000000 --latent-dim 1", "do not fit into memory"),
    ],
)
def test_mistakes_are_named(tiny_run: Path, words: str, message: str) -> None:
    run = ["--run", str(tiny_run)] if "vae" in words and "--run" not in words else []
    done = dl(*words.split(), *run, "--json")
    assert done.exit_code == 2
    error = error_of(done)
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
    files = PictureFiles("n", out=Path(out) if out else None, formats=formats)
    assert [str(p).replace(str(run.figures), "f") for p in files.paths(run=run)] == expected


def test_pictures_of_an_exported_model_have_its_name() -> None:
    exported = RunFolder(Path("models/best.v2"))
    assert PictureFiles("n", formats=["npz"]).paths(run=exported) == [
        Path("runs/pictures/n-best.v2.npz")
    ]
    assert PictureFiles("n").paths(run=None) == [Path("runs/pictures/n.png")]
