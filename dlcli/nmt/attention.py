"""Additive attention (Bahdanau, Cho & Bengio 2015, arXiv 1409.0473, section A.1.2).

    e_ij = vᵀ tanh(W s_i + U h_j)      α_i = softmax(e_i)      c_i = Σ_j α_ij h_j

U h_j does not depend on the step and is projected once a sentence. v starts at zero, so that
attention starts uniform.

Legend: B batch, S source length, H encoder hidden a direction, N decoder hidden, A attention size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST_GROUP = 4


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
        self,
        hidden: Tensor,
        *,
        keys: Tensor,
        values: Tensor,
        mask: Tensor,
        owner: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Look at the source, of one sentence each or as hypotheses of the same ones.

        Args:
            hidden: the states s, N of them.
            keys: (B, S, A), from `project`.
            values: (B, S, 2H).
            mask: (B, S) bool; at least one True a row.
            owner: (N,) int64, rising: the sentence that each state looks at; by default each at
                its own, and then N = B.

        Returns:
            The context (N, 2H) and the weights (N, S): they sum to one and are zero on padding.
        """
        query = self.query(hidden).to(hidden.dtype)
        if owner is None:
            scores = torch.tanh(query[:, None] + keys) @ self.v  # (B, S)
        else:
            scores = keys.index_select(0, owner).add_(query[:, None]).tanh_() @ self.v
            mask = mask[owner]
        scores = scores.to(hidden.dtype).masked_fill(~mask, -torch.inf)
        weights = torch.softmax(scores, dim=1)
        if owner is None:
            context = (weights[:, None] @ values)[:, 0]
        else:
            context = _contexts(weights, values, owner=owner)
        return context.to(hidden.dtype), weights


def _contexts(weights: Tensor, values: Tensor, *, owner: Tensor) -> Tensor:
    """Average values (B, S, 2H) by weights (N, S), without a copy of them for each hypothesis.

    Sentences are given LEAST_GROUP rows or more: fewer would be summed in another order.
    """
    place = torch.arange(len(owner), device=owner.device) - torch.searchsorted(owner, owner)
    G = max(LEAST_GROUP, int(place.max()) + 1)
    table = weights.new_zeros(len(values), G, weights.size(1))
    table[owner, place] = weights
    contexts: Tensor = (table @ values)[owner, place]
    return contexts
