"""A second translator network, small and unlike the first: its state grows with each word."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.nmt.model import Forced, Step, TranslationModel


@dataclass(frozen=True, kw_only=True)
class Source:
    """Embedded source words (B, S, E) and which are real (B, S)."""

    words: Tensor
    mask: Tensor


@dataclass(frozen=True, kw_only=True)
class Past:
    """All words so far, embedded (N, t, E)."""

    words: Tensor

    def select(self, rows: Tensor) -> Past:
        return Past(words=self.words[rows])


class SelfAttention(TranslationModel):
    """One causal layer over the words so far, and one look at the source's embeddings."""

    def __init__(self, *, vocabulary: int, size: int = 6) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, size), nn.Embedding(200, size)
        self.inputs = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, vocabulary)

    def encode(self, source: Tensor, mask: Tensor) -> Source:
        return Source(words=self._embed(source), mask=mask)

    def start(self, memory: Source) -> Past:
        return Past(words=memory.words[:, :0])

    def step(
        self, previous: Tensor, state: Past, memory: Source, *, owner: Tensor | None = None
    ) -> Step:
        owner = torch.arange(len(previous)) if owner is None else owner
        new = self._embed(previous[:, None], first=state.words.size(1))
        words = torch.cat([state.words, new], dim=1)
        source = Source(words=memory.words[owner], mask=memory.mask[owner])
        made = self._read(words, source)
        logits = self.logits(made.features[:, -1])
        return Step(logits=logits, attention=made.attention[:, -1], state=Past(words=words))

    def force(self, source: Tensor, mask: Tensor, target_in: Tensor) -> Forced:
        return self._read(self._embed(target_in), self.encode(source, mask))

    def logits(self, features: Tensor) -> Tensor:
        logits: Tensor = self.output(features)
        return logits

    def _embed(self, ids: Tensor, *, first: int = 0) -> Tensor:
        places = torch.arange(first, first + ids.size(1))
        embedded: Tensor = self.words(ids) + self.places(places)
        return embedded

    def _read(self, words: Tensor, source: Source) -> Forced:
        query, key, value = self.inputs(words).chunk(3, dim=2)
        hidden = words + F.scaled_dot_product_attention(query, key, value, is_causal=True)
        scores = (hidden @ source.words.mT).masked_fill(~source.mask[:, None], -torch.inf)
        attention = torch.softmax(scores, dim=2)
        return Forced(features=torch.tanh(hidden + attention @ source.words), attention=attention)
