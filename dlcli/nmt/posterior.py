"""Which source word a target word was made from, once it is known: Bayes' rule over attention.

Attention α says where the decoder looks *before* it knows what it will write. Had it looked at
position j alone, it would have written y with probability p(y | c = h_j); so after y is seen

    γ_j  =  α_j p(y | c = h_j) / Σ_k α_k p(y | c = h_k)

is the posterior over positions, with attention as the prior: the E step of a model in which a word
has one origin (Brown et al. 1993; Shankar & Sarawagi 2019 train with it). A network trained on soft
contexts was never asked for p(y | c = h_j), so whether it knows is for alignment error to tell.

Legend: S source length, T target length, E embedding, H encoder hidden a direction, N decoder
hidden, R readout, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcli.nmt.readout import Readout

AT_ONCE = 2048
"""Pairs of positions whose scores over the vocabulary are held at once."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One translation read through, without padding.

    Attributes:
        hidden: s_1 … s_T (T, N).
        embedded: the words consumed (T, E).
        attention: (T, S), rows sum to one.
        values: encoder states (S, 2H).
        words: ids of the words that come next (T,) int64.
    """

    hidden: Tensor
    embedded: Tensor
    attention: Tensor
    values: Tensor
    words: Tensor


def source_posterior(reading: Reading, *, readout: Readout, weight: Tensor, bias: Tensor) -> Tensor:
    """Return γ: (T, S) float32, rows sum to one.

    Args:
        reading: of one pair of sentences.
        readout: the deep output.
        weight: of the softmax (V, R).
        bias: of the softmax (V,).
    """
    likelihood = _log_likelihood(reading, readout=readout, weight=weight, bias=bias)
    return torch.softmax(reading.attention.float().log() + likelihood, dim=1)


def _log_likelihood(reading: Reading, *, readout: Readout, weight: Tensor, bias: Tensor) -> Tensor:
    """Return log p(y_t | c = h_j): (T, S) float32, a few rows at a time."""
    S = len(reading.values)
    known = torch.cat([reading.hidden, reading.embedded], dim=1)
    by_state, by_source = readout.linear.weight.tensor_split([known.size(1)], dim=1)
    of_state = F.linear(known, by_state, readout.linear.bias)
    of_source = F.linear(reading.values, by_source)
    found = []
    rows = max(1, AT_ONCE // S)
    for first in range(0, len(known), rows):
        units, words = of_state[first : first + rows], reading.words[first : first + rows]
        features = readout.activate((units[:, None] + of_source).to(known.dtype))
        scores = F.linear(features, weight, bias).float()
        chosen = scores.gather(2, words[:, None, None].expand(-1, S, 1))[:, :, 0]
        found.append(chosen - scores.logsumexp(dim=2))
    return torch.cat(found)
