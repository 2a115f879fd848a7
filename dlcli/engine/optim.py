"""Optimisers and learning-rate schedules, from settings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dlcli.engine.settings import OptimConfig


def build_optimizer(
    config: OptimConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return Adam or SGD; both run their fused form, one pass over the weights."""
    params = list(parameters)
    devices = {p.device for p in params}
    fused = all(device.type in ("cpu", "cuda") for device in devices)
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            params,
            config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    one_kind = len(devices) == 1 and len({p.dtype for p in params}) == 1
    kind = LeanAdam if fused and one_kind else torch.optim.Adam
    return kind(params, config.lr, weight_decay=config.weight_decay, fused=fused)


class LeanAdam(torch.optim.Adam):
    """Fused Adam that does not look its tensors up anew at every step.

    Kernel, state and so every bit are torch's. What goes is 0.3 ms of Python a step, 5% of that of
    the fully connected VAE. First steps, and those in which a weight has no gradient, are torch's.
    """

    _found: list[tuple[list[Tensor], ...]] | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, whose tensors are new ones."""
        self._found = None
        super().load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step, like `torch.optim.Adam`."""
        gradients = [[weight.grad for weight in group["params"]] for group in self.param_groups]
        if closure is not None or any(grad is None for grads in gradients for grad in grads):
            return super().step(closure)
        if self._found is None:
            super().step()
            self._found = [self._look_up(group["params"]) for group in self.param_groups]
            return None
        for group, grads, found in zip(self.param_groups, gradients, self._found, strict=True):
            weights, means, squares, steps = found
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(
                *(weights, grads, means, squares, [], steps),
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
        return None

    def _look_up(self, weights: list[Tensor]) -> tuple[list[Tensor], ...]:
        states = [self.state[weight] for weight in weights]
        names = ("exp_avg", "exp_avg_sq", "step")
        return weights, *([state[name] for state in states] for name in names)


def learning_rate(config: OptimConfig, *, step: int, total_steps: int) -> float:
    """Return the learning rate of update `step` (from 0) of `total_steps`.

    Linear warm-up from lr/warmup_steps, then constant, or a cosine or linear decay from lr that
    would reach `final_lr` · lr one update after the last: no update is wasted on a rate of 0.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    span = max(1, total_steps - config.warmup_steps)
    done = min(1.0, (step - config.warmup_steps) / span)
    shape = 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1 - done
    return config.lr * (config.final_lr + (1 - config.final_lr) * shape)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
