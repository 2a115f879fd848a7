"""Additive attention (Bahdanau, Cho & Bengio 2015, arXiv 1409.0473, section A.1.2).

    e_ij = vᵀ tanh(W s_i + U h_j)      α_i = softmax(e_i)      c_i = Σ_j α_ij h_j

U h_j does not depend on the step and is projected once a sentence. v starts at zero, so that
attention starts uniform.

Legend: B batch, S source length, H encoder hidden a direction, N decoder hidden, A attention size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """Weights over the source, given the decoder's state.

    Args:
        query_size: N.
        value_size: 2H.
        size: A.
    """

    def __init__(self, *, query_size: int, value_size: int, size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, size, bias=False)
        self.key = nn.Linear(value_size, size)
        self.v = nn.Parameter(torch.zeros(size))

    def project(self, values: Tensor) -> Tensor:
        """Project encoder states (B, S, 2H) to keys (B, S, A)."""
        keys: Tensor = self.key(values)
        return keys.to(values.dtype)

    def forward(
        self, hidden: Tensor, *, keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Look at the source.

        Args:
            hidden: s (B, N).
            keys: (B, S, A), from `project`.
            values: (B, S, 2H).
            mask: (B, S) bool; at least one True a row.

        Returns:
            The context (B, 2H) and the weights (B, S): they sum to one and are zero on padding.
        """
        query = self.query(hidden).to(hidden.dtype)
        scores = torch.tanh(query[:, None] + keys) @ self.v  # (B, S)
        scores = scores.to(hidden.dtype).masked_fill(~mask, -torch.inf)
        weights = torch.softmax(scores, dim=1)
        context = (weights[:, None] @ values)[:, 0]
        return context.to(hidden.dtype), weights
