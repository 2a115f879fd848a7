"""From the decoder's state to the next word: the paper's deep output, and the loss.

    t̃ = U s + V E y + C c + b      t = max of each pair of t̃      p ∝ exp(W t + w)

W is the joint embedding where the two are tied; `tanh` may take the place of the maximum.

Legend: M target words, E embedding, N decoder hidden, H encoder hidden a direction, R readout,
V vocabulary.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Readout(nn.Module):
    """One hidden layer over state, last word and context (section A.2.2).

    Args:
        inputs: N + E + 2H.
        size: R.
        kind: `maxout` over pairs of units (Goodfellow et al. 2013), or `tanh`.
    """

    def __init__(self, *, inputs: int, size: int, kind: Literal["maxout", "tanh"]) -> None:
        super().__init__()
        self.maxout = kind == "maxout"
        self.linear = nn.Linear(inputs, 2 * size if self.maxout else size)

    def forward(self, hidden: Tensor, *, embedded: Tensor, contexts: Tensor) -> Tensor:
        """Map (…, N), (…, E) and (…, 2H) to features (…, R)."""
        units: Tensor = self.linear(torch.cat([hidden, embedded, contexts], dim=-1))
        return self.activate(units.to(hidden.dtype))

    def activate(self, units: Tensor) -> Tensor:
        """Take the maximum of each pair of units (…, 2R), or the tanh of each (…, R)."""
        if not self.maxout:
            return torch.tanh(units)
        first, second = units.chunk(2, dim=-1)
        return torch.maximum(first, second)


def smoothed_cross_entropy(
    logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the loss and the negative log-likelihood, summed over words, in nats.

    The loss is (1 − ε) nll + ε · mean over the vocabulary of −log p, as in
    `torch.nn.functional.cross_entropy`.

    Args:
        logits: (M, V).
        targets: (M,) int64.
        label_smoothing: ε in [0, 1).
    """
    log_p = F.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
    nll = -log_p.gather(1, targets[:, None]).sum()
    if not label_smoothing:
        return nll, nll
    uniform = -log_p.mean(dim=1).sum()
    return (1 - label_smoothing) * nll + label_smoothing * uniform, nll
