"""A trained VAE, read back from a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dlcli.engine.checkpoint import load_checkpoint
from dlcli.engine.config import resolve
from dlcli.engine.runs import RunFolder, find_run
from dlcli.errors import CheckpointError
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
    """`last`, `best` or `epoch-0010`."""


def load_trained(
    run: RunFolder, *, checkpoint: str | None = None, device: torch.device | str = "cpu"
) -> Trained:
    """Rebuild the VAE of a run from the settings in its own checkpoint.

    Args:
        run: a run folder of a VAE.
        checkpoint: `last`, `best` or `epoch-0010`; None is the run's result: the best by
            validation data where there is one, else the last.
        device: where to put the model.

    Raises:
        CheckpointError: it is missing, damaged, or of another kind or shape.
    """
    name = checkpoint or result_name(run)
    path = run.checkpoint(name)
    state = load_checkpoint(path, kind=KIND)
    saved, weights = state.get("config"), state.get("model")
    if not isinstance(saved, Mapping) or not isinstance(weights, Mapping):
        raise CheckpointError(f"The checkpoint {path} holds no VAE.", hint="Choose another run.")
    config = resolve(VaeTrainConfig, [saved], source=str(path))
    network = VaeNetwork(build_model(config.model), objective=config.objective)
    load_weights_into(network, weights, source=str(path))
    return Trained(model=network.vae.to(device).eval(), config=config, run=run, checkpoint=name)


def find_trained(
    text: str | None, *, checkpoint: str | None = None, notice: Callable[[str], object]
) -> Trained:
    """Read back the VAE that `--run` names, on the CPU, and tell `notice` which one that is.

    Args:
        text: see `dlcli.engine.runs.find_run`; None is the newest trained VAE.
        checkpoint: see `load_trained`.
        notice: told one sentence.

    Raises:
        UsageFault: there is no such run.
        CheckpointError: see `load_trained`.
    """
    trained = load_trained(find_run(text, kind=KIND), checkpoint=checkpoint)
    notice(f"Using {trained.run.path}, checkpoint {trained.checkpoint}.")
    return trained


def result_name(run: RunFolder) -> str:
    """Name the checkpoint that is a run's result: `best`, else `last`, else the newest snapshot."""
    for name in ("best", "last"):
        if run.checkpoint(name).is_file():
            return name
    epochs = snapshot_epochs(run)
    return snapshot_name(epochs[-1]) if epochs else "last"


def snapshot_name(epoch: int) -> str:
    """Return the name of the checkpoint kept after `epoch` epochs."""
    return f"epoch-{epoch:04d}"


def snapshot_epochs(run: RunFolder) -> list[int]:
    """List the epochs whose checkpoints a run has kept, in order."""
    stems = (path.stem.removeprefix("epoch-") for path in run.checkpoints.glob("epoch-*.pt"))
    return sorted(int(stem) for stem in stems if stem.isdigit())


def load_weights_into(network: nn.Module, weights: Mapping[str, Any], *, source: str) -> None:
    """Load a checkpoint's weights.

    Raises:
        CheckpointError: they are those of another network.
    """
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError):
        raise CheckpointError(
            f"The weights in {source} are not those of this network.",
            hint="Use the --arch, --latent-dim and sizes that it was trained with.",
        ) from None
