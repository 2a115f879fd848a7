"""The same latents at several epochs, like the seed's Figures 1 and 2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dlcli.engine.runs import RunFolder
from dlcli.engine.seed import generator
from dlcli.engine.weights import snapshot_epochs, snapshot_name
from dlcli.vae.gallery import Gallery, decode_gallery
from dlcli.vae.model import VAE
from dlcli.vae.trained import load_trained

SNAPSHOT_IMAGES = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """What a VAE drew after some epochs."""

    epoch: int
    gallery: Gallery


def snapshot_latents(seed: int, *, latent_dim: int, count: int = SNAPSHOT_IMAGES) -> Tensor:
    """Draw the latents (count, D) of a run's snapshots: the same at every epoch."""
    return torch.randn(count, latent_dim, generator=generator(seed, "snapshot"))


def take_snapshot(model: VAE, *, seed: int, epoch: int, likelihood: str = "bernoulli") -> Snapshot:
    """Decode a run's snapshot latents into means."""
    z = snapshot_latents(seed, latent_dim=model.latent_dim)
    return Snapshot(epoch=epoch, gallery=decode_gallery(model, z, likelihood=likelihood))


def snapshots_of(run: RunFolder) -> list[Snapshot]:
    """Draw the snapshots of a run again, from the checkpoints it kept."""
    found = []
    for epoch in snapshot_epochs(run):
        trained = load_trained(run, checkpoint=snapshot_name(epoch))
        found.append(
            take_snapshot(
                trained.model,
                seed=trained.config.compute.seed,
                epoch=epoch,
                likelihood=trained.config.objective.likelihood,
            )
        )
    return found


def snapshot_epoch(path: Path) -> int | None:
    """Return the epoch of a kept checkpoint's path, or None for `last` and `best`."""
    number = path.stem.removeprefix("epoch-")
    return int(number) if path.stem.startswith("epoch-") and number.isdigit() else None
