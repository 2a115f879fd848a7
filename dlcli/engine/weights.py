"""A run's trained weights, wherever they are: in its checkpoints, or in an exported file.

An exported run has `model.safetensors` beside its `config.yaml` instead of checkpoints: weights
that carry no code, no optimiser and no way to go on training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from dlcli.engine.checkpoint import load_checkpoint
from dlcli.engine.config import load_yaml
from dlcli.engine.files import write_whole
from dlcli.engine.runs import RunFolder
from dlcli.errors import CheckpointError

EXPORTED = "exported"
"""The name under which an exported run gives its weights."""
AVERAGE = "average"
"""The checkpoint of averaged weights, which is kept only where it is a run's result."""
FORMAT = "1"

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """Settings and weights of a trained network."""

    name: str
    """`best`, `last`, `epoch-0010` or `exported`."""
    path: Path
    config: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    """Name → float32 tensor on the CPU, in the forms of `Module.state_dict`."""


def load_model(run: RunFolder, *, kind: str, checkpoint: str | None = None) -> SavedModel:
    """Read the settings and weights of a run.

    Args:
        run: a run folder.
        kind: what it must be a run of, such as `vae`.
        checkpoint: `last`, `best`, `average`, `epoch-0010`, `exported`; None is the run's result.

    Raises:
        CheckpointError: it is missing, damaged, or of another kind.
    """
    name = checkpoint or result_name(run)
    if name == EXPORTED:
        return _load_exported(run, kind=kind)
    path = run.checkpoint(name)
    state = load_checkpoint(path, kind=kind)
    config, weights = state.get("config"), state.get("model")
    if not isinstance(config, Mapping) or not isinstance(weights, Mapping):
        raise CheckpointError(f"The checkpoint {path} holds no model.", hint="Choose another run.")
    return SavedModel(name=name, path=path, config=config, weights=weights)


def result_name(run: RunFolder) -> str:
    """Name what holds a run's result: `average`, else `best`, `last`, a snapshot, the export."""
    for name in (AVERAGE, "best", "last"):
        if run.checkpoint(name).is_file():
            return name
    epochs = snapshot_epochs(run)
    if epochs:
        return snapshot_name(epochs[-1])
    return EXPORTED if run.exported_file.is_file() else "last"


def snapshot_name(epoch: int) -> str:
    """Return the name of the checkpoint kept after `epoch` epochs."""
    return f"epoch-{epoch:04d}"


def snapshot_epochs(run: RunFolder) -> list[int]:
    """List the epochs whose checkpoints a run has kept, in order."""
    stems = (path.stem.removeprefix("epoch-") for path in run.checkpoints.glob("epoch-*.pt"))
    return sorted(int(stem) for stem in stems if stem.isdigit())


def save_exported(
    folder: RunFolder, weights: Mapping[str, torch.Tensor], *, kind: str, half: bool
) -> None:
    """Write `model.safetensors`, whole or not at all.

    Args:
        folder: where to.
        weights: name → tensor.
        kind: what the weights are of.
        half: whether matrices and kernels are stored as float16. What has fewer than two
            dimensions (biases, normalisation statistics) takes no room and keeps its precision.
    """
    stored = {
        name: tensor.half() if half and tensor.is_floating_point() and tensor.dim() > 1 else tensor
        for name, tensor in weights.items()
    }
    data = save(
        {
            name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in stored.items()
        },
        metadata={"kind": kind, "format": FORMAT},
    )
    write_whole(folder.exported_file, data)


def build_from(build: Callable[[], N], weights: Mapping[str, Any], *, source: str) -> N:
    """Build the network that weights are of, and load them.

    Its shapes are looked at first, where they take no room: settings may ask for a network larger
    than any memory, whatever the weights beside them are of.

    Args:
        build: builds the network from the settings beside the weights.
        weights: see `SavedModel.weights`.
        source: where they are from, for the message.

    Raises:
        CheckpointError: the weights are those of another network.
    """
    with torch.device("meta"):
        wanted = {name: _form(tensor) for name, tensor in build().state_dict().items()}
    hint = "The file was changed: use another checkpoint of the run, or train again."
    if {name: _form(value) for name, value in weights.items()} != wanted:
        raise _of_another_network(source, hint=hint)
    network = build()
    load_weights_into(network, weights, source=source, hint=hint)
    return network


def _form(value: object) -> tuple[tuple[int, ...], bool] | None:
    """Return the shape of a tensor and whether it holds real numbers."""
    if not isinstance(value, torch.Tensor):
        return None
    return tuple(value.shape), value.is_floating_point()


def load_weights_into(
    network: nn.Module, weights: Mapping[str, Any], *, source: str, hint: str
) -> None:
    """Load a run's weights.

    Args:
        network: takes them.
        weights: see `SavedModel.weights`.
        source: where they are from, for the message.
        hint: what to do where they do not fit.

    Raises:
        CheckpointError: they are those of another network.
    """
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError):
        raise _of_another_network(source, hint=hint) from None


def _of_another_network(source: str, *, hint: str) -> CheckpointError:
    return CheckpointError(f"The weights in {source} are not those of this network.", hint=hint)


def _load_exported(run: RunFolder, *, kind: str) -> SavedModel:
    path = run.exported_file
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"The weights {path} cannot be read: {error}.",
            hint="Export the run again, or reinstall the package if it came with it.",
        ) from None
    if about.get("kind") != kind or about.get("format") != FORMAT:
        raise CheckpointError(
            f"The weights {path} are of kind '{about.get('kind')}', format {about.get('format')}; "
            f"this needs '{kind}', format {FORMAT}.",
            hint="Choose another run, or update dlcli.",
        )
    whole = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    return SavedModel(name=EXPORTED, path=path, config=load_yaml(run.config_file), weights=whole)
