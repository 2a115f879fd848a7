"""A network of odd tiny sizes whose attention and softmax are far from uniform."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from dlcli.nmt.config import NmtModelConfig
from dlcli.nmt.model import Translation, build_model
from dlcli.nmt.tokenizer import EOS, PAD

TINY = NmtModelConfig(embedding=6, encoder_hidden=5, hidden=7, attention_size=3)


def tiny_model(*, vocabulary: int = 11, seed: int = 0, **sizes: Any) -> Translation:
    """Build a random network in evaluation mode and in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(replace(TINY, **sizes), vocabulary=vocabulary).double().eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
    return model


def padded(*sentences: list[int], width: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay out sentences as a batch, `</s>` added: ids (B, S) and mask (B, S)."""
    S = max(width, 1 + max(map(len, sentences)))
    rows = [[*ids, EOS, *[PAD] * (S - 1 - len(ids))] for ids in sentences]
    source = torch.tensor(rows)
    return source, source != PAD
