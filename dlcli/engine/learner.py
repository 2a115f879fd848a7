"""What the training loop trains: the two small contracts between the engine and a domain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one training step of this process works on."""

    payload: tuple[Any, ...]
    """The arguments of the network's forward."""
    items: int
    """Items of this process, for speeds."""
    weight: float
    """What the loss sums of the *global* batch are divided by: its images or target tokens."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """What of an evaluation the best checkpoint is chosen by; without it none is kept as best."""

    metric: str = "valid_loss"
    higher_is_better: bool = False

    def improves(self, value: float, *, best: float | None) -> bool:
        """Say whether `value` is a number and better than the best so far."""
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        return value > best if self.higher_is_better else value < best


class Learner(Protocol):
    """A network, its data and its evaluation."""

    network: nn.Module
    """`forward(*payload)` returns this process's sums: `loss`, which is minimised, and parts."""
    unit: str
    """What `Batch.items` counts, such as `images`."""

    def steps_per_epoch(self) -> int:
        """Return the number of batches in an epoch."""
        ...

    def batches(self, *, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield this process's part of each global batch of an epoch (from 0), from `start` on."""
        ...

    def evaluate(self, *, epoch: int) -> Mapping[str, object]:
        """Measure after `epoch` epochs; the best checkpoint is chosen by one of the numbers."""
        ...
