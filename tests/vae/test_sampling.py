"""Ancestral sampling: the draws have the decoder's means, the densities its factors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal

from dlcli.errors import RunFailed, UsageFault
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.likelihood import likelihood_named
from dlcli.vae.networks import VAE
from dlcli.vae.sampling import (
    MOST_PIXELS,
    ancestral_sample,
    chosen_latents,
    draw_latents,
    fresh,
    read_latents,
    untrained_model,
)


@pytest.fixture(scope="module")
def model() -> VAE:
    """A random decoder whose pixels are far from one half."""
    made = untrained_model(VaeModelConfig(latent_dim=3, hidden=(7,)), seed=5)
    with torch.no_grad():
        for parameter in made.decoder.parameters():
            parameter.mul_(3)
    return made


def test_pixel_means_of_draws_agree_with_the_decoder(model: VAE) -> None:
    S = 2000
    made = ancestral_sample(model, draw_latents(model, count=5, seed=0), draws=S, seed=1)
    f = torch.sigmoid(model.decode(torch.from_numpy(made.z))).detach().view(5, 28, 28)
    assert torch.allclose(torch.from_numpy(made.means), f, atol=1e-6)
    found = torch.from_numpy(made.draws).mean(1)
    variance = f * (1 - f)
    normal = S * variance > 20  # elsewhere a mean of so few ones is not nearly normal
    assert normal.float().mean() > 0.5
    assert (found - f).abs()[~normal].max() < 0.02
    z_scores = ((found - f) / (variance / S).sqrt())[normal]
    # Of up to 3,920 pixels one in 16,000 is expected beyond 4 standard errors.
    assert (z_scores.abs() > 4).sum() <= 2
    assert z_scores.abs().max() < 6
    assert abs(float(z_scores.square().mean()) - 1) < 0.15


def test_latents_are_standard_normal(model: VAE) -> None:
    z = draw_latents(model, count=20_000, seed=2)
    standard_error = 1 / math.sqrt(len(z))
    assert z.mean(0).abs().max() < 4 * standard_error
    assert (z.var(0) - 1).abs().max() < 4 * math.sqrt(2) * standard_error
    assert torch.equal(draw_latents(model, count=3, seed=2), draw_latents(model, count=3, seed=2))


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_log_joint_is_what_the_factorisation_says(model: VAE, likelihood: str) -> None:
    model.likelihood = likelihood_named(likelihood, channels=1)
    made = ancestral_sample(model, draw_latents(model, count=3, seed=0), draws=2, seed=1)
    z = torch.from_numpy(made.z)
    logits = model.decode(z).double()[:, None]
    law = ContinuousBernoulli if likelihood == "continuous-bernoulli" else Bernoulli
    x = torch.from_numpy(made.draws).double().view(3, 2, 784)
    prior = Normal(0.0, 1.0).log_prob(z.double()).sum(-1)
    expected = prior[:, None] + law(logits=logits).log_prob(x).sum(-1)
    torch.testing.assert_close(torch.tensor(made.log_prior, dtype=torch.float64), prior)
    # torch's continuous Bernoulli is itself cut near one half, to 1e-5 a pixel
    found = torch.tensor(made.log_joint, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)


def test_a_seed_fixes_everything_and_the_global_state_is_untouched(model: VAE) -> None:
    before = torch.get_rng_state()
    again = untrained_model(VaeModelConfig(latent_dim=3, hidden=(7,)), seed=5)
    other = untrained_model(VaeModelConfig(latent_dim=3, hidden=(7,)), seed=6)
    z = draw_latents(again, count=2, seed=0)
    first, second = (ancestral_sample(again, z, draws=2, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert (first.draws == second.draws).all()
    assert not (again.decoder.layers[0].weight == other.decoder.layers[0].weight).any()


def test_refuses_what_cannot_be(model: VAE) -> None:
    z = draw_latents(model, count=2, seed=0)
    for latents, draws in ((z, 0), (z[:, :2], 1), (z, MOST_PIXELS)):
        with pytest.raises(UsageFault):
            ancestral_sample(model, latents, draws=draws, seed=0)


def test_a_decoder_that_returns_nan_is_no_sample() -> None:
    model = untrained_model(VaeModelConfig(latent_dim=3, hidden=(7,)), seed=0)
    with pytest.raises(RunFailed, match="decoder returned NaN"):
        ancestral_sample(model, torch.full((2, 3), torch.nan), draws=1, seed=0)


Z = np.array([[0.5, -1.25, 3.0], [0.0, 2.0, 1e-3]], dtype=np.float32)


def test_every_form_gives_the_same_latents(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", other=np.zeros(3), z=Z)
    np.savez(tmp_path / "b.npz", latents=Z)
    np.save(tmp_path / "c.npy", Z)
    (tmp_path / "d.txt").write_text("# D = 3\n0.5 -1.25 3\n0 2 1e-3\n")
    (tmp_path / "e.csv").write_text("0.5,-1.25, 3\n0,2,1e-3\n")
    (tmp_path / "f.csv").write_text("0.5,-1.25,3\n0,2,1e-3\n", encoding="utf-8-sig")
    for path in tmp_path.iterdir():
        assert torch.equal(read_latents(path), torch.from_numpy(Z)), path.name


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
