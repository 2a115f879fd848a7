"""`dl vae generate`; what the picture commands share is tested in test_pictures.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.tiny import dl, dl_json

pytestmark = pytest.mark.usefixtures("no_figures")


def test_temperature_zero_repeats_one_picture(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "cold.npz"
    words = ("vae", "generate", "--run", str(trained), "--n", "3", "--temperature", "0")
    found = dl_json(*words, "--out", str(out))
    assert found["count"] == 3
    with np.load(out) as arrays:
        images = arrays["images"]
    assert np.array_equal(images[0], images[1])
    assert np.array_equal(images[0], images[2])


def test_draws_are_black_or_white_and_means_are_not(trained: Path, tmp_path: Path) -> None:
    for flag, binary in (("--draw", True), ("--mean", False)):
        out = tmp_path / f"{flag}.npz"
        dl_json("vae", "generate", "--run", str(trained), "--n", "2", flag, "--out", str(out))
        with np.load(out) as arrays:
            values = np.unique(arrays["images"])
        assert (set(values.tolist()) <= {0.0, 1.0}) is binary


def test_no_pictures_is_a_usage_error(trained: Path) -> None:
    assert dl("vae", "generate", "--run", str(trained), "--n", "0").exit_code == 2


# -- `dl vae interpolate`; what the picture commands share is tested in test_pictures.py


def test_a_walk_between_seeds_ends_where_they_begin(trained: Path, tmp_path: Path) -> None:
    walks = []
    for seeds in (("1", "2"), ("2", "1")):
        out = tmp_path / f"{'-'.join(seeds)}.npz"
        words = ("vae", "interpolate", "--run", str(trained), "--steps", "5", "--seeds", *seeds)
        assert dl_json(*words, "--out", str(out))["count"] == 5
        with np.load(out) as arrays:
            walks.append(arrays["z"])
    assert walks[0].shape == (5, 3)
    assert np.allclose(walks[0][0], walks[1][-1], atol=1e-5)
    assert np.allclose(walks[0][2], walks[1][2], atol=1e-5)


def test_one_seed_is_no_walk(trained: Path) -> None:
    assert dl("vae", "interpolate", "--run", str(trained), "--seeds", "1").exit_code == 2


# -- `dl vae reconstruct`; what the picture commands share is tested in test_pictures.py


def test_inputs_and_reconstructions_come_in_pairs(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.npz"
    found = dl_json("vae", "reconstruct", "--run", str(trained), "--n", "3", "--out", str(out))
    assert found["count"] == 3
    with np.load(out) as arrays:
        assert arrays["inputs"].shape == arrays["images"].shape == (3, 28, 28)
        assert not np.array_equal(arrays["inputs"], arrays["images"])


def test_more_images_than_there_are_is_said(trained: Path) -> None:
    done = dl("vae", "reconstruct", "--run", str(trained), "--n", "9999")
    assert done.exit_code == 2
    assert "Traceback" not in done.output


# -- `dl vae traverse`; what the picture commands share is tested in test_pictures.py


def test_only_the_named_latent_moves(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "walk.npz"
    words = ("vae", "traverse", "--run", str(trained), "--dims", "1", "--steps", "5")
    dl_json(*words, "--out", str(out))
    with np.load(out) as arrays:
        moved = np.ptp(arrays["z"], axis=0)
    assert moved[1] > 1
    assert np.allclose(moved[[0, 2]], 0)


def test_a_latent_that_is_not_there_is_named(trained: Path) -> None:
    done = dl("vae", "traverse", "--run", str(trained), "--dims", "3")
    assert done.exit_code == 2
    assert "3" in done.stderr
