"""Optimisers and learning-rate schedules, from settings."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from dlcli.engine.settings import OptimConfig


def build_optimizer(
    config: OptimConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return Adam or SGD; both run their fused form, one pass over the weights."""
    params = list(parameters)
    fused = all(p.device.type in ("cpu", "cuda") for p in params)
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            params,
            config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    return torch.optim.Adam(params, config.lr, weight_decay=config.weight_decay, fused=fused)


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
