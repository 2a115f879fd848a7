"""Sources of decoders and latents for `dl sample`."""

from __future__ import annotations

from pathlib import Path

import torch

from dlcli.vae.sampling import chosen_latents, fresh


def test_a_fresh_decoder_says_what_it_is() -> None:
    source = fresh(arch="mlp", latent_dim=3, seed=4)
    line = source.signature(count=2, draws=5, seed=4, file=None)
    assert (source.name, source.stem) == ("untrained mlp", "untrained-mlp-")
    for part in ("model:untrained", "latent-dim:3", "latents:prior", "draws:5", "seed:4"):
        assert part in line.split("|")
    assert "latents:file-z.txt" in source.signature(
        count=2, draws=5, seed=4, file=Path("a/z.txt")
    ).split("|")


def test_latents_come_from_the_file_or_from_the_seed(tmp_path: Path) -> None:
    model = fresh(arch="mlp", latent_dim=2, seed=0).model
    (tmp_path / "z.txt").write_text("1 2\n3 4\n5 6\n")
    taken = chosen_latents(model, file=tmp_path / "z.txt", count=2, default=8, seed=0)
    assert taken.tolist() == [[1, 2], [3, 4]]
    drawn = chosen_latents(model, file=None, count=None, default=8, seed=0)
    same = chosen_latents(
        fresh(arch="mlp", latent_dim=2, seed=9).model, file=None, count=8, default=1, seed=0
    )
    assert torch.equal(drawn, same)
