"""One update: forward, backward, clipping, optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dlcli.engine.device import Compute
from dlcli.engine.distributed import World
from dlcli.engine.learner import Batch
from dlcli.engine.optim import build_optimizer, learning_rate, set_learning_rate
from dlcli.engine.seed import derive, reseed
from dlcli.engine.settings import OptimConfig


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
        set_learning_rate(self.optimizer, lr)
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
