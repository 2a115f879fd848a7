"""Small stacks, probes and settings that the tests of this room share."""

from __future__ import annotations

import torch

from dlcli.engine.config import resolve
from dlcli.engine.device import Compute
from dlcli.layernorm.config import LnGradientsConfig, Placement, StackConfig
from dlcli.layernorm.gradients import Probe, draw_probe
from dlcli.layernorm.stack import Stack, build_stack

CPU = Compute(device=torch.device("cpu"), precision="fp32", threads=1)
SMALL = {
    "sweep": {
        "depths": [1, 2, 4],
        "widths": [8],
        "seeds": 3,
        "batch_size": 3,
        "tokens": 2,
        "classes": 5,
    },
    "layers": {"depth": 3},
    "exact": {"depth": 2, "width": 4, "tokens": 2},
    "training": {"depth": 1, "width": 8, "length": 2, "vocabulary": 3, "steps": 2, "seeds": 1},
}


def small(**layers: object) -> LnGradientsConfig:
    """Return settings whose measurement takes a moment."""
    return resolve(LnGradientsConfig, [SMALL, layers])


def seeded(number: int = 0) -> torch.Generator:
    """Return a fresh generator."""
    return torch.Generator().manual_seed(number)


def stack(
    placement: Placement,
    *,
    depth: int = 3,
    width: int = 8,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **config: object,
) -> Stack:
    """Draw a small stack; `config` are fields of StackConfig."""
    settings = resolve(StackConfig, [config])
    generator = seeded(seed)
    return build_stack(
        placement, depth=depth, width=width, config=settings, generator=generator, dtype=dtype
    )


def probe(
    *,
    width: int = 8,
    dtype: torch.dtype = torch.float32,
    tokens: int = 5,
    batch_size: int = 3,
) -> Probe:
    """Draw a small probe."""
    sizes = {"batch_size": batch_size, "tokens": tokens, "width": width, "classes": 11}
    return draw_probe(**sizes, generator=seeded(1), dtype=dtype)
