"""Latents from files of three kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dlcli.errors import UsageFault
from dlcli.vae.sampling import read_latents

Z = np.array([[0.5, -1.25, 3.0], [0.0, 2.0, 1e-3]], dtype=np.float32)


def test_every_form_gives_the_same_latents(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", other=np.zeros(3), z=Z)
    np.savez(tmp_path / "b.npz", latents=Z)
    np.save(tmp_path / "c.npy", Z)
    (tmp_path / "d.txt").write_text("# D = 3\n0.5 -1.25 3\n0 2 1e-3\n")
    (tmp_path / "e.csv").write_text("0.5,-1.25, 3\n0,2,1e-3\n")
    for path in tmp_path.iterdir():
        assert torch.equal(read_latents(path), torch.from_numpy(Z)), path.name


def test_one_line_is_one_latent(tmp_path: Path) -> None:
    (tmp_path / "z.txt").write_text("1 2 3\n")
    assert read_latents(tmp_path / "z.txt").shape == (1, 3)


@pytest.mark.parametrize("text", ["", "a b\n", "1 2\n3\n", "nan 1\n", "1e999 0\n"])
def test_text_that_is_no_matrix_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "z.txt").write_text(text)
    with pytest.raises(UsageFault) as caught:
        read_latents(tmp_path / "z.txt")
    assert "z.txt" in caught.value.message
    assert caught.value.hint


def test_files_that_are_not_there_or_hold_code_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=Z, b=Z)
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    for name in ("nothing.npz", "object.npy", "two.npz", "cut.npz"):
        with pytest.raises(UsageFault):
            read_latents(tmp_path / name)
