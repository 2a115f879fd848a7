"""`dl vae reconstruct`; what the picture commands share is tested in test_pictures.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.tiny import dl, dl_json

pytestmark = pytest.mark.usefixtures("no_figures")


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
