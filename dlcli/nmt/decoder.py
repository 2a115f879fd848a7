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

from dlcli.nmt.attention import AdditiveAttention
from dlcli.nmt.gru import gru_step
from dlcli.nmt.recurrence import Source, attentive_gru


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
