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
