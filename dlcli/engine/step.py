"""One update of a network: forward, backward, clipping, optimiser, learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dlcli.engine.device import Compute
from dlcli.engine.distributed import World
from dlcli.engine.seed import derive, reseed
from dlcli.engine.settings import OptimConfig

BatchRanges = list[tuple[int, int]]
"""The batches of an epoch: (start, stop) positions in its order."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one training step of this process works on."""

    payload: tuple[Any, ...]
    """The arguments of the network's forward."""
    items: int
    """Items of this process, for speeds."""
    weight: float
    """What the loss sums of the *global* batch are divided by: its images or target tokens."""


def rows_of_process(count: int, *, rank: int, world: int) -> tuple[int, int]:
    """Return the rows (start, stop) of a global batch that belong to one process."""
    return count * rank // world, count * (rank + 1) // world


class Stepper:
    """Takes updates of one network with one optimiser.

    Args:
        network: forward returns a dictionary of sums, `loss` among them.
        optim: the optimiser's settings.
        compute: device and precision.
        world: this process among its peers.
        seed: of the run; each update reseeds torch's global generator from it (for dropout).
        compiled: whether to run the network through `torch.compile`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        optim: OptimConfig,
        compute: Compute,
        world: World,
        seed: int,
        compiled: bool = False,
    ) -> None:
        self.config, self.compute, self.world, self.seed = optim, compute, world, seed
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(optim, self.parameters)
        callee: Any = torch.compile(network) if compiled else network
        self.network = world.wrap(callee, device=compute.device)
        self.names: list[str] = []
        self._sum_dtype = torch.float32 if compute.device.type == "mps" else torch.float64

    @property
    def lr(self) -> float:
        """The learning rate of the last update, in whichever session that was."""
        return float(self.optimizer.param_groups[0]["lr"])

    def update(self, batches: Sequence[Batch], *, step: int, total_steps: int) -> Tensor:
        """Take update `step` on the given batches and return its sums.

        The gradient is that of Σ loss / Σ weight over all batches and processes.

        Returns:
            float64 (1 + parts,): the weight, then this process's sum of each part in `names`.
        """
        reseed(derive(self.seed, "step", step, self.world.rank), device=self.compute.device)
        lr = learning_rate(self.config, step=step, total_steps=total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        for parameter in self.parameters:  # zero_grad does the same thirty times slower
            parameter.grad = None
        scale = self.world.size / batches[0].weight
        sums = self._backward(batches[0], scale=scale, last=len(batches) == 1)
        for i, batch in enumerate(batches[1:], start=2):
            sums += self._backward(batch, scale=scale, last=i == len(batches))
        self._rescale(batches)
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.optimizer.step()
        return sums

    def _backward(self, batch: Batch, *, scale: float, last: bool) -> Tensor:
        network: Any = self.network
        waits = isinstance(network, DistributedDataParallel) and not last
        with network.no_sync() if waits else nullcontext():
            with self.compute.autocast():
                parts: dict[str, Tensor] = network(*batch.payload)
            torch.autograd.backward(parts["loss"] * scale)
        self.names = list(parts)
        weight = torch.full((), batch.weight / self.world.size, device=self.compute.device)
        return torch.stack([weight, *(part.detach() for part in parts.values())]).to(
            self._sum_dtype
        )

    def _rescale(self, batches: Sequence[Batch]) -> None:
        """Turn gradients divided by the first batch's weight into ones divided by all weights."""
        if len(batches) > 1:
            factor = batches[0].weight / sum(batch.weight for batch in batches)
            grads = [p.grad for p in self.parameters if p.grad is not None]
            torch._foreach_mul_(grads, factor)


def build_optimizer(
    config: OptimConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return Adam or SGD; both run their fused form, one pass over the weights."""
    params = list(parameters)
    fused = all(p.device.type in ("cpu", "cuda") for p in params)
    decay = config.weight_decay
    if config.optimizer == "sgd":
        momentum = config.momentum
        return torch.optim.SGD(
            params, config.lr, momentum=momentum, weight_decay=decay, fused=fused
        )
    return torch.optim.Adam(params, config.lr, weight_decay=decay, fused=fused)


def learning_rate(config: OptimConfig, *, step: int, total_steps: int) -> float:
    """Return the learning rate of update `step` (from 0) of `total_steps`.

    Linear warm-up from lr/warmup_steps, then constant, or a cosine or linear decay from lr that
    would reach `final_lr` · lr one update after the last: no update is wasted on a rate of 0. With
    inverse-sqrt it falls with 1/√updates (Vaswani et al. 2017, equation 3), without an end.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "inverse-sqrt":
        return config.lr * math.sqrt(max(1, config.warmup_steps) / (step + 1))
    span = max(1, total_steps - config.warmup_steps)
    done = min(1.0, (step - config.warmup_steps) / span)
    shape = 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1 - done
    return config.lr * (config.final_lr + (1 - config.final_lr) * shape)
