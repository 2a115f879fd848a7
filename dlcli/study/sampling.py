"""Where `dl sample` takes its decoder and its latents from: a run, chance, or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from dlcli.engine.signature import signature
from dlcli.study.ancestral import draw_latents, untrained_model
from dlcli.study.latent_files import read_latents
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.model import VAE
from dlcli.vae.result import describe
from dlcli.vae.trained import Trained


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A decoder to sample from."""

    model: VAE
    likelihood: str
    name: str
    """For titles: the run's name, or "untrained mlp"."""
    trained: Trained | None
    arch: str

    @property
    def stem(self) -> str:
        """What a file's name says of it: nothing for a run, whose folder the file goes to."""
        return "" if self.trained else f"{self.name.replace(' ', '-')}-"

    def signature(self, *, count: int, draws: int, seed: int, file: Path | None) -> str:
        """Say what changes the sample and the densities."""
        latents = f"file-{file.name}" if file is not None else "prior"
        if self.trained is not None:
            return describe(
                self.trained.config,
                estimator="ancestral",
                data=self.trained.config.data.name,
                checkpoint=self.trained.checkpoint,
                init=self.trained.run.origin,
                latents=latents,
                count=count,
                draws=draws,
                sampling_seed=seed,
            )
        return signature(
            estimator="ancestral",
            model="untrained",
            arch=self.arch,
            latent_dim=self.model.latent_dim,
            likelihood=self.likelihood,
            latents=latents,
            count=count,
            draws=draws,
            seed=seed,
        )


def of_run(trained: Trained) -> Source:
    """Sample from a trained run, by the likelihood it was trained with."""
    return Source(
        model=trained.model,
        likelihood=trained.config.objective.likelihood,
        name=trained.run.path.name,
        trained=trained,
        arch=trained.config.model.arch,
    )


def fresh(*, arch: Literal["mlp", "conv"], latent_dim: int, seed: int) -> Source:
    """Sample from a decoder with random weights."""
    model = untrained_model(VaeModelConfig(arch=arch, latent_dim=latent_dim), seed=seed)
    return Source(
        model=model, likelihood="bernoulli", name=f"untrained {arch}", trained=None, arch=arch
    )


def chosen_latents(
    model: VAE, *, file: Path | None, count: int | None, default: int, seed: int
) -> Tensor:
    """Return latents (N, D): those of a file (the first `count` of them), or new ones.

    Raises:
        UsageFault: the file cannot be read; see `read_latents`.
    """
    if file is None:
        return draw_latents(model, count=count or default, seed=seed)
    return read_latents(file)[:count]
