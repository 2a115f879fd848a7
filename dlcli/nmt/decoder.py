"""The decoder: a GRU that is fed the last word and a context, and a deep output (section A.2.2).

    c = attend(s)      s' = GRU(s, [E y; c])

One recurrence serves both kinds of query. `previous` is the paper's: output i sees attend(s_{i−1}),
the context that the step consumed, and s_i. `updated`: output i sees attend(s_i), where s_i has
consumed y_{i−1}. So T steps take T + 1 attentions, and the kinds differ in which T the output sees.

Legend: B batch, S source length, T target length, E embedding, H encoder hidden a direction,
N decoder hidden, A attention size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.nmt.fast.recurrence import Source, attentive_gru
from dlcli.nmt.gru import gru_step

# -- Additive attention (Bahdanau, Cho & Bengio 2015, arXiv 1409.0473, section A.1.2)
# e_ij = vᵀ tanh(W s_i + U h_j)      α_i = softmax(e_i)      c_i = Σ_j α_ij h_j
#
# U h_j does not depend on the step and is projected once a sentence. v starts at zero, so that
# attention starts uniform.
#
# Legend: B batch, S source length, H encoder hidden a direction, N decoder hidden, A attention
# size.

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


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the decoder knows of the source; computed once a sentence.

    Attributes:
        values: encoder states (B, S, 2H).
        keys: their projections (B, S, A); without attention (B, S, 0).
        mask: (B, S) bool, True where there is a token.
        summary: (B, 2H), the context of every step where there is no attention.
        initial: the decoder's first state (B, N).
    """

    values: Tensor
    keys: Tensor
    mask: Tensor
    summary: Tensor
    initial: Tensor

    def select(self, rows: Tensor) -> Memory:
        """Return the memory of these rows (int64), in this order."""
        return Memory(
            values=self.values[rows],
            keys=self.keys[rows],
            mask=self.mask[rows],
            summary=self.summary[rows],
            initial=self.initial[rows],
        )


@dataclass(frozen=True, kw_only=True)
class State:
    """The decoder between two words: hidden (B, N), and what it sees: context (B, 2H), attention
    (B, S)."""

    hidden: Tensor
    context: Tensor
    attention: Tensor

    def select(self, rows: Tensor) -> State:
        """Return the state of these rows (int64), in this order."""
        return State(
            hidden=self.hidden[rows], context=self.context[rows], attention=self.attention[rows]
        )


@dataclass(frozen=True, kw_only=True)
class States:
    """All states of a force-decoded batch.

    Attributes:
        hidden: s_1 … s_T (B, T, N).
        contexts: what each output sees (B, T, 2H).
        attention: the weights of these (B, T, S); zeros without attention.
    """

    hidden: Tensor
    contexts: Tensor
    attention: Tensor


class Decoder(nn.Module):
    """The recurrence and its attention.

    Args:
        embedding: E.
        value_size: 2H.
        hidden: N.
        attention_size: A.
        attention: `none` has the summary as the context of every step.
        attention_query: `updated` or `previous`.
    """

    def __init__(
        self,
        *,
        embedding: int,
        value_size: int,
        hidden: int,
        attention_size: int,
        attention: Literal["additive", "none"] = "additive",
        attention_query: Literal["updated", "previous"] = "updated",
    ) -> None:
        super().__init__()
        self.embedding, self.attention_query = embedding, attention_query
        self.fused = True
        self.bridge = nn.Linear(value_size, hidden)
        self.cell = nn.GRUCell(embedding + value_size, hidden)
        self.attention = (
            AdditiveAttention(query_size=hidden, value_size=value_size, size=attention_size)
            if attention == "additive"
            else None
        )

    def remember(self, values: Tensor, *, summary: Tensor, mask: Tensor) -> Memory:
        """Prepare the source: keys, and the first state tanh(W summary + b).

        The paper's first state takes the backward direction's end alone; the summary has both.
        """
        initial = torch.tanh(self.bridge(summary)).to(values.dtype)
        keys = values[:, :, :0] if self.attention is None else self.attention.project(values)
        return Memory(values=values, keys=keys, mask=mask, summary=summary, initial=initial)

    def look(self, hidden: Tensor, memory: Memory, *, owner: Tensor | None = None) -> State:
        """Attend to the source from N states; `owner`: see `AdditiveAttention`."""
        if self.attention is None:
            summary = memory.summary if owner is None else memory.summary[owner]
            nowhere = memory.values.new_zeros(len(summary), memory.mask.size(1))
            return State(hidden=hidden, context=summary, attention=nowhere)
        context, weights = self.attention(
            hidden, keys=memory.keys, values=memory.values, mask=memory.mask, owner=owner
        )
        return State(hidden=hidden, context=context, attention=weights)

    def advance(
        self, embedded: Tensor, *, state: State, memory: Memory, owner: Tensor | None = None
    ) -> tuple[State, State]:
        """Consume one word.

        Args:
            embedded: E y (N, E).
            state: from `look`, or from the step before.
            memory: of the source.
            owner: see `AdditiveAttention`.

        Returns:
            What the output of this step sees, and the state to go on with; both have the new hidden
            state, and they are the same where the query is `updated`.
        """
        inputs = torch.cat([embedded, state.context], dim=1)
        projected = F.linear(inputs, self.cell.weight_ih, self.cell.bias_ih)
        hidden = gru_step(self.cell, projected, hidden=state.hidden)
        following = self.look(hidden, memory, owner=owner)
        if self.attention_query == "updated":
            return following, following
        seen = State(hidden=hidden, context=state.context, attention=state.attention)
        return seen, following

    def unroll(self, embedded: Tensor, memory: Memory) -> States:
        """Consume given words (B, T, E) one after the other."""
        if self.fused and self.attention is not None:
            return self._unroll_fused(embedded, memory, attention=self.attention)
        state = self.look(memory.initial, memory)
        seen: list[State] = []
        for t in range(embedded.size(1)):
            output, state = self.advance(embedded[:, t], state=state, memory=memory)
            seen.append(output)
        return States(
            hidden=torch.stack([one.hidden for one in seen], dim=1),
            contexts=torch.stack([one.context for one in seen], dim=1),
            attention=torch.stack([one.attention for one in seen], dim=1),
        )

    def _unroll_fused(
        self, embedded: Tensor, memory: Memory, *, attention: AdditiveAttention
    ) -> States:
        hidden, contexts, weights = attentive_gru(
            embedded.transpose(0, 1),
            initial=memory.initial,
            source=Source(keys=memory.keys, values=memory.values, mask=memory.mask),
            cell=self.cell,
            query=attention.query.weight,
            v=attention.v,
            updated=self.attention_query == "updated",
        )
        return States(
            hidden=hidden.transpose(0, 1),
            contexts=contexts.transpose(0, 1),
            attention=weights.transpose(0, 1),
        )


# -- From the decoder's state to the next word: the paper's deep output, and the loss
# t̃ = U s + V E y + C c + b      t = max of each pair of t̃      p ∝ exp(W t + w)
#
# W is the joint embedding where the two are tied; `tanh` may take the place of the maximum.
#
# Legend: M target words, E embedding, N decoder hidden, H encoder hidden a direction, R readout,
# V vocabulary.


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
