"""Small stacks, probes and settings that the tests of this folder share."""

from __future__ import annotations

import torch
from torch import nn

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


def torch_twin(ours: Stack) -> nn.Sequential:
    """Return PyTorch's own encoder layers with the weights of `ours`."""
    pre = ours.placement == "pre"
    layers = []
    for index in range(ours.depth):
        mine = ours.layer(index)
        a, f = mine.attention.sublayer, mine.feedforward.sublayer
        layer = nn.TransformerEncoderLayer(
            ours.width, a.heads, f.w1.size(0), dropout=0.0, batch_first=True, norm_first=pre
        )
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": a.in_proj_weight,
                "self_attn.in_proj_bias": a.in_proj_bias,
                "self_attn.out_proj.weight": a.out_proj_weight,
                "self_attn.out_proj.bias": a.out_proj_bias,
                "linear1.weight": f.w1,
                "linear1.bias": f.b1,
                "linear2.weight": f.w2,
                "linear2.bias": f.b2,
                "norm1.weight": mine.attention.norm.weight,
                "norm1.bias": mine.attention.norm.bias,
                "norm2.weight": mine.feedforward.norm.weight,
                "norm2.bias": mine.feedforward.norm.bias,
            }
        )
        layers.append(layer)
    final = [nn.LayerNorm(ours.width)] if pre else []
    return nn.Sequential(*layers, *final)
