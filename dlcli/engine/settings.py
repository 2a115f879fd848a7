"""The settings every training shares: where it computes, how it optimises, how long it runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from dlcli.engine.config import STRICT, DataclassType, setting, setting_like
from dlcli.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]
Schedule = Literal["constant", "cosine", "linear", "inverse-sqrt"]


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Where and how numbers are computed."""

    __pydantic_config__ = STRICT

    device: str = setting(
        "auto", flag="--device", help="auto, cpu, cuda, cuda:N or mps", signature=None
    )
    precision: Precision = setting(
        "auto",
        flag="--precision",
        help="fp32, bf16 (autocast), or auto: what was measured to pay",
        signature=None,
    )
    seed: Annotated[int, Ge(0), Lt(2**63)] = setting(
        0, flag="--seed", help="one number for every random choice", signature="seed"
    )
    threads: Annotated[int, Ge(0), Le(1024)] = setting(
        0, flag="--threads", help="CPU threads; 0 takes one a free core", signature=None
    )
    compile: bool = setting(
        False,
        flag="--compile/--no-compile",
        help="compile the network with torch.compile",
        signature=None,
    )
    sync_batch_norm: bool = setting(
        False,
        flag="--sync-batch-norm/--no-sync-batch-norm",
        help="share batch statistics between processes (CUDA only)",
        signature=None,
    )


@dataclass(frozen=True, kw_only=True)
class MachineConfig:
    """Where a measurement is computed, and from which seed; `compute_config` fills in the rest."""

    __pydantic_config__ = STRICT

    device: str = setting_like(ComputeConfig, "device")
    seed: Annotated[int, Ge(0), Lt(2**63)] = setting_like(ComputeConfig, "seed")
    threads: Annotated[int, Ge(0), Le(1024)] = setting_like(ComputeConfig, "threads")


def compute_config(settings: object, **changes: Any) -> ComputeConfig:
    """Return the fields of `ComputeConfig` that other settings declare, with some changed."""
    names = [field.name for field in dataclasses.fields(ComputeConfig)]
    found = {name: getattr(settings, name) for name in names if hasattr(settings, name)}
    return ComputeConfig(**{**found, **changes})


def require_items(settings: object, *names: str) -> None:
    """Refuse lists with nothing in them.

    Raises:
        ConfigError: one of the named fields is empty.
    """
    for name in names:
        if not getattr(settings, name):
            raise ConfigError(
                f"The list --{name} is empty.", hint=f"Give --{name} at least one value."
            )


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The optimiser and its learning rate over time.

    A signature names the optimiser, the peak rate and the schedule. It has left the others out
    since the first version, and stays so that signatures can be compared.
    """

    __pydantic_config__ = STRICT

    optimizer: Literal["adam", "sgd"] = setting(
        "adam", flag="--optimizer", help="optimiser", signature="optimizer"
    )
    lr: Annotated[float, Gt(0), Le(1e6)] = setting(
        1e-3,
        flag="--lr",
        help="peak learning rate",
        source="assignment, Question 9",
        signature="optimizer",
    )
    schedule: Schedule = setting(
        "constant",
        flag="--schedule",
        help="learning rate after warm-up: constant, cosine or linear decay, or inverse-sqrt, "
        "which falls with the root of the number of updates",
        signature="optimizer",
    )
    final_lr: Annotated[float, Ge(0), Le(1)] = setting(
        0.0,
        flag="--final-lr",
        help="where a cosine or linear decay ends, as a fraction of --lr",
        signature=None,
    )
    warmup_steps: Annotated[int, Ge(0)] = setting(
        0, flag="--warmup-steps", help="updates of linear warm-up from 0", signature=None
    )
    momentum: Annotated[float, Ge(0), Lt(1)] = setting(
        0.0, flag="--momentum", help="momentum of sgd", signature=None
    )
    weight_decay: Annotated[float, Ge(0)] = setting(
        0.0, flag="--weight-decay", help="L2 penalty added to the gradient", signature=None
    )
    clip_norm: Annotated[float, Ge(0)] = setting(
        0.0,
        flag="--clip-norm",
        help="largest gradient norm; 0 switches clipping off",
        signature=None,
    )
    accumulate: Annotated[int, Ge(1)] = setting(
        1,
        flag="--accumulate",
        help="batches whose gradients are added up before an update",
        signature="batch",
    )


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long to train, and when to look, save and stop."""

    __pydantic_config__ = STRICT

    epochs: Annotated[int, Ge(0)] = setting(
        80,
        flag="--epochs",
        help="passes over the training data",
        source="assignment, Question 10",
        signature=None,
    )
    batch_size: Annotated[int, Ge(1)] = setting(
        64,
        flag="--batch-size",
        help="examples an update (the global batch)",
        source="assignment, Question 9",
        signature="batch",
    )
    evaluate_every: Annotated[int, Ge(1)] = setting(
        1,
        flag="--evaluate-every",
        help="epochs (or steps, see --evaluate-unit) between evaluations",
        signature=None,
    )
    evaluate_unit: Literal["epochs", "steps"] = setting(
        "epochs", flag="--evaluate-unit", help="what --evaluate-every counts", signature=None
    )
    patience: Annotated[int, Ge(0)] = setting(
        0,
        flag="--patience",
        help="evaluations without a better validation loss before stopping; 0 never stops",
        signature=None,
    )
    max_minutes: Annotated[float, Ge(0)] = setting(
        0.0,
        flag="--max-minutes",
        help="stop cleanly after this many minutes of training; 0 is no limit",
        signature=None,
    )
    checkpoint_minutes: Annotated[float, Gt(0)] = setting(
        5.0,
        flag="--checkpoint-minutes",
        help="longest time in minutes between checkpoints within an epoch",
        signature=None,
    )


class RunConfig(DataclassType, Protocol):
    """The settings that every training has, among others of its own."""

    @property
    def data(self) -> Any:
        """Return the settings of the data, `name` among them."""

    @property
    def model(self) -> Any:
        """Return what the network is built from."""

    @property
    def optim(self) -> OptimConfig:
        """Return the optimiser's settings."""

    @property
    def loop(self) -> LoopConfig:
        """Return the length of the training."""

    @property
    def compute(self) -> ComputeConfig:
        """Return device, precision and seed."""


C = TypeVar("C", bound=RunConfig)


def seeds_of(config: C, count: int) -> dict[str, C]:
    """Return the settings once for each of `count` seeds, counted on from their own."""
    first = config.compute.seed
    return {
        f"seed-{seed}": dataclasses.replace(
            config, compute=dataclasses.replace(config.compute, seed=seed)
        )
        for seed in range(first, first + count)
    }
