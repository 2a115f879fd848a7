"""`dl vae interpolate`; what the picture commands share is tested in test_pictures.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.tiny import dl, dl_json

pytestmark = pytest.mark.usefixtures("no_figures")


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
