"""`dl vae traverse`; what the picture commands share is tested in test_pictures.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.tiny import dl, dl_json

pytestmark = pytest.mark.usefixtures("no_figures")


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
