"""A trained VAE, read back from a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dlcli.engine.config import resolve
from dlcli.engine.finding import find_run, using
from dlcli.engine.runs import RunFolder
from dlcli.engine.weights import build_from, load_model
from dlcli.engine.weights import load_weights_into as weights_into
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.model import VAE, build_model
from dlcli.vae.objective import VaeNetwork

KIND = "vae"
"""What run.json and checkpoints of this room call themselves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A VAE with the settings it was trained under."""

    model: VAE
    """In evaluation mode."""
    config: VaeTrainConfig
    run: RunFolder
    checkpoint: str
    """`last`, `best`, `epoch-0010`, or `exported`."""


def load_trained(
    run: RunFolder, *, checkpoint: str | None = None, device: torch.device | str = "cpu"
) -> Trained:
    """Rebuild the VAE of a run from the settings in its own checkpoint.

    Args:
        run: a run folder of a VAE.
        checkpoint: see `dlcli.engine.weights.load_model`.
        device: where to put the model.

    Raises:
        CheckpointError: it is missing, damaged, or of another kind or shape.
    """
    saved = load_model(run, kind=KIND, checkpoint=checkpoint)
    config = resolve(VaeTrainConfig, [saved.config], source=str(saved.path))

    def build() -> VaeNetwork:
        return VaeNetwork(build_model(config.model), objective=config.objective)

    network = build_from(build, saved.weights, source=str(saved.path))
    return Trained(
        model=network.vae.to(device).eval(), config=config, run=run, checkpoint=saved.name
    )


def find_trained(
    text: str | None, *, checkpoint: str | None = None, notice: Callable[[str], object]
) -> Trained:
    """Read back the VAE that `--run` names, on the CPU, and tell `notice` which one that is.

    Args:
        text: see `dlcli.engine.finding.find_run`; None is the newest trained VAE.
        checkpoint: see `load_trained`.
        notice: told one sentence.

    Raises:
        UsageFault: there is no such run.
        CheckpointError: see `load_trained`.
    """
    trained = load_trained(find_run(text, kind=KIND), checkpoint=checkpoint)
    notice(using(trained.run, checkpoint=trained.checkpoint))
    return trained


def load_weights_into(network: nn.Module, weights: Mapping[str, Any], *, source: str) -> None:
    """Load a checkpoint's weights.

    Raises:
        CheckpointError: they are those of another network.
    """
    weights_into(
        network,
        weights,
        source=source,
        hint="Use the --arch, --latent-dim, --norm, --prior and sizes that it was trained with.",
    )
