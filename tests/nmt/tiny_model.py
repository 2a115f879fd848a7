"""Networks of odd tiny sizes whose attention and softmax are far from uniform."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dlcli.nmt.config import NmtModelConfig
from dlcli.nmt.networks import AttentionGru
from dlcli.nmt.tokenizer import BOS, EOS, PAD
from tests.nmt.self_attention import SelfAttention

TINY = NmtModelConfig(embedding=6, encoder_hidden=5, hidden=7, attention_size=3)
SENTENCES = [[4, 5, 6], [7], [8, 9, 4, 10, 5], [5, 5], [6, 4, 9, 9]]
Network = TypeVar("Network", bound=nn.Module)


def tiny_model(*, vocabulary: int = 11, seed: int = 0, **sizes: Any) -> AttentionGru:
    """Build a random network in evaluation mode and in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _drawn(AttentionGru(replace(TINY, **sizes), vocabulary=vocabulary))


def other_model(*, vocabulary: int = 11, seed: int = 2) -> SelfAttention:
    """Build a random network that the program does not know, likewise."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _drawn(SelfAttention(vocabulary=vocabulary))


def _drawn(model: Network) -> Network:
    for parameter in model.double().eval().parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return model


def padded(*sentences: list[int], width: int = 0) -> tuple[Tensor, Tensor]:
    """Lay out sentences as a batch, `</s>` added: ids (B, S) and mask (B, S)."""
    S = max(width, 1 + max(map(len, sentences)))
    rows = [[*ids, EOS, *[PAD] * (S - 1 - len(ids))] for ids in sentences]
    source = torch.tensor(rows)
    return source, source != PAD


def pair() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lay out three sentences and translations: source, mask, BOS y1 …, and y1 … EOS."""
    target, _ = padded([5, 4], [6, 7, 8, 9, 10], [4])
    first = torch.full((len(target), 1), BOS)
    shifted = torch.cat([first, target[:, :-1]], dim=1)
    return *padded([4, 5, 6, 7], [8], [9, 10, 4]), shifted, target
