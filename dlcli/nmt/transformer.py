"""The Transformer: a translator of attention alone.

Vaswani et al. 2017 (arXiv 1706.03762). Both sides are stacks of residual sublayers: attention to
the own side, in the decoder attention to the source, and a feed-forward network of each word alone.

    Attention(Q, K, V) = softmax(Q Kᵀ / √d) V
    post (the paper's):  x ← LN(x + A(x))      pre (Xiong et al. 2020):  x ← x + A(LN(x))

Encoder and decoder may differ in depth: one layer of decoder after a deep encoder translates as
well and is faster (Kasai et al. 2021). A step of the search keeps the keys and values of all words
before it and computes those of one word. Weights of attention exist in one layer only, and where
they are wanted; elsewhere PyTorch's fused attention takes their place.

Legend: B batch, S source length, T target length, L either of them, N hypotheses (at most G of a
sentence), V vocabulary; D width (the embedding's size), H heads, d = D / H.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.errors import UsageFault
from dlcli.nmt.config import NmtModelConfig
from dlcli.nmt.fast.kernels import NO_WORD, ROWS
from dlcli.nmt.fast.softmax import softmax_loss
from dlcli.nmt.model import Forced, Step, TranslationModel


class Transformer(TranslationModel):
    """An encoder and a decoder of attention.

    Args:
        config: sizes and kinds.
        vocabulary: V, of the joint vocabulary.
    """

    def __init__(self, config: NmtModelConfig, *, vocabulary: int) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        D, (encoders, decoders) = config.embedding, config.depths
        self.embedding = nn.Embedding(vocabulary, D)
        self.target_embedding = None if config.tie_embeddings else nn.Embedding(vocabulary, D)
        self.output = None if config.tie_embeddings else nn.Parameter(torch.empty(vocabulary, D))
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(encoders))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(decoders))
        pre = config.norm == "pre"  # there the sum of all sublayers still has to be normalised
        self.encoder_norm = nn.LayerNorm(D) if pre else nn.Identity()
        self.decoder_norm = nn.LayerNorm(D) if pre else nn.Identity()
        self.choose_attention()
        initialise(self)

    def choose_attention(self, *, layer: int | None = None, head: int | None = None) -> None:
        """See `TranslationModel`.

        By default it is the mean over the heads of the last layer but one, which aligns words
        better than the last (Garg et al. 2019).
        """
        layers, heads = self.config.depths[1], self.config.heads
        for name, given, most in (("layer", layer, layers), ("head", head, heads)):
            if given is not None and not 1 <= given <= most:
                raise UsageFault(
                    f"This model's decoder has no {name} {given}.",
                    hint=f"Use --{name} 1 to {most}, or leave it out.",
                )
        self.shown_layer, self.shown_head = layer or max(1, layers - 1), head

    @property
    def attention_signature(self) -> dict[str, object]:
        """See `TranslationModel`."""
        return {"layer": self.shown_layer, "head": self.shown_head or "mean"}

    @property
    def residual_stacks(self) -> dict[str, list[nn.Module]]:
        """See `TranslationModel`."""
        return {"encoder": list(self.encoder), "decoder": list(self.decoder)}

    def encode(self, source: Tensor, mask: Tensor) -> Memory:
        """See `TranslationModel`."""
        words = self._embed(self.embedding, source)
        for layer in self.encoder:
            words = layer(words, mask=mask)
        words = self.encoder_norm(words)
        past = tuple(layer.source_attention.remember(words) for layer in self._decoders)
        return Memory(words=past, mask=mask)

    def start(self, memory: Memory) -> Past:
        """See `TranslationModel`."""
        return Past(words=tuple(words[:, :0] for words in memory.words))

    def step(
        self, previous: Tensor, state: Past, memory: Memory, *, owner: Tensor | None = None
    ) -> Step:
        """See `TranslationModel`."""
        table = None if owner is None else Table(owner, sentences=len(memory.mask))
        features, attention, past = self._read(previous[:, None], memory, past=state, table=table)
        return Step(logits=self.logits(features[:, 0]), attention=attention[:, 0], state=past)

    def force(self, source: Tensor, mask: Tensor, target_in: Tensor) -> Forced:
        """See `TranslationModel`."""
        memory = self.encode(source, mask)
        features, attention, _ = self._read(target_in, memory, past=self.start(memory))
        return Forced(features=features, attention=attention)

    def features(self, source: Tensor, mask: Tensor, target_in: Tensor) -> Tensor:
        """See `TranslationModel`."""
        memory = self.encode(source, mask)
        return self._read(target_in, memory, past=self.start(memory), weighed=False)[0]

    def logits(self, features: Tensor) -> Tensor:
        """See `TranslationModel`."""
        return F.linear(features, self.output_weight)

    def word_losses(
        self, features: Tensor, targets: Tensor, *, label_smoothing: float
    ) -> tuple[Tensor, Tensor]:
        """See `TranslationModel`; the logits of all words never exist at once."""
        spare = -len(targets) % ROWS
        return softmax_loss(
            F.pad(features, (0, 0, 0, spare)),
            weight=self.output_weight,
            bias=self.output_weight.new_zeros(self.vocabulary),
            targets=F.pad(targets, (0, spare), value=NO_WORD),
            label_smoothing=label_smoothing,
        )

    @property
    def output_weight(self) -> Tensor:
        """The matrix of the softmax (V, D)."""
        return self.embedding.weight if self.output is None else self.output

    def _read(
        self,
        ids: Tensor,
        memory: Memory,
        *,
        past: Past,
        table: Table | None = None,
        weighed: bool = True,
    ) -> tuple[Tensor, Tensor, Past]:
        """Read the words (N, T) that come after the past ones; see `DecoderLayer`.

        Returns:
            Features (N, T, D), attention (N, T, S) if it is wanted, and all that is past now.
        """
        embedding = self.target_embedding or self.embedding
        words = self._embed(embedding, ids, first=past.words[0].size(1))
        kept, attention = [], words.new_zeros(0)
        layers = zip(self._decoders, past.words, memory.words, strict=True)
        for number, (layer, before, source) in enumerate(layers, start=1):
            words, own, weights = layer(
                words,
                past=before,
                source=source,
                mask=memory.mask,
                table=table,
                weighed=weighed and number == self.shown_layer,
            )
            kept.append(own)
            if weights is not None:
                head = self.shown_head
                attention = weights.mean(dim=2) if head is None else weights[:, :, head - 1]
        return self.decoder_norm(words), attention, Past(words=tuple(kept))

    def _embed(self, table: nn.Embedding, ids: Tensor, *, first: int = 0) -> Tensor:
        """Map ids (N, L), of which the first is at place `first`, to (N, L, D)."""
        D = table.embedding_dim
        embedded: Tensor = table(ids) * math.sqrt(D)
        embedded = embedded + places(ids.size(1), D, first=first, like=embedded)
        return F.dropout(embedded, self.config.dropout_embedding, training=self.training)

    @property
    def _decoders(self) -> list[DecoderLayer]:
        return [cast("DecoderLayer", layer) for layer in self.decoder]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The source as each layer of the decoder sees it: keys and values (B, S, 2D); mask (B, S)."""

    words: tuple[Tensor, ...]
    mask: Tensor


@dataclass(frozen=True, kw_only=True)
class Past:
    """The words so far as each layer of the decoder sees them: keys and values (N, t, 2D)."""

    words: tuple[Tensor, ...]

    def select(self, rows: Tensor) -> Past:
        """Return the state of these rows (int64), in this order."""
        return Past(words=tuple(words[rows] for words in self.words))


class Table:
    """Hypotheses laid out by sentence, so that the source is not copied for each of them.

    Args:
        owner: (N,) the sentence of each hypothesis, rising.
        sentences: B.
    """

    def __init__(self, owner: Tensor, *, sentences: int) -> None:
        place = torch.arange(len(owner), device=owner.device) - torch.searchsorted(owner, owner)
        self.place, self.shape = (owner, place), (sentences, int(place.max()) + 1)

    def lay(self, rows: Tensor) -> Tensor:
        """Put (N, 1, D) into (B, G, D)."""
        laid = rows.new_zeros(*self.shape, rows.size(2))
        laid[self.place] = rows[:, 0]
        return laid

    def take(self, laid: Tensor) -> Tensor:
        """Take (N, 1, …) from (B, G, …)."""
        return laid[self.place][:, None]


def places(length: int, width: int, *, first: int, like: Tensor) -> Tensor:
    """Return the sines and cosines (L, D) that stand for places from `first` on (section 3.5)."""
    place = torch.arange(first, first + length, device=like.device)[:, None]
    pair = torch.arange(0, width, 2, device=like.device)
    angles = place * torch.exp(pair * (-math.log(10_000) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width].to(like.dtype)


def initialise(model: Transformer) -> None:
    """Draw the weights from torch's global generator.

    Embeddings are normal with deviation D^-½, so that they have the size of the places when they
    are multiplied by √D, and the words' logits start small; other matrices are Glorot uniform.
    """
    for name, parameter in model.named_parameters():
        if "embedding" in name or name == "output":
            nn.init.normal_(parameter, std=parameter.size(1) ** -0.5)
        elif parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


class Layer(nn.Module):
    """What layers of both sides have: attention to the own side, and a feed-forward network."""

    def __init__(self, config: NmtModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_residual = Residual(config)
        self.feedforward = FeedForward(config)
        self.feedforward_residual = Residual(config)

    @property
    def w2(self) -> nn.Parameter:
        """The second matrix of the feed-forward network (D, F)."""
        return cast("nn.Parameter", self.feedforward[2].weight)

    def transform(self, words: Tensor) -> Tensor:
        """Apply the feed-forward network to each of (N, L, D)."""
        update = self.feedforward(self.feedforward_residual.enter(words))
        return self.feedforward_residual.leave(words, update)


class EncoderLayer(Layer):
    """Attention of source words to one another, and a feed-forward network."""

    def forward(self, words: Tensor, *, mask: Tensor) -> Tensor:
        """Map (B, S, D) to (B, S, D); words look where the mask (B, S) is True."""
        inputs = self.attention_residual.enter(words)
        update, _ = self.attention(inputs, self.attention.remember(inputs), mask=mask)
        return self.transform(self.attention_residual.leave(words, update))


class DecoderLayer(Layer):
    """Attention to the words before, attention to the source, and a feed-forward network."""

    def __init__(self, config: NmtModelConfig) -> None:
        super().__init__(config)
        self.source_attention = Attention(config)
        self.source_residual = Residual(config)

    def forward(
        self,
        words: Tensor,
        *,
        past: Tensor,
        source: Tensor,
        mask: Tensor,
        table: Table | None,
        weighed: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Read words.

        Args:
            words: (N, T, D): whole translations (t = 0), or the next word of each (T = 1).
            past: keys and values (N, t, 2D) of the words before.
            source: keys and values (B, S, 2D).
            mask: (B, S) bool.
            table: which of the B sentences each of N hypotheses translates; None where N = B.
            weighed: whether the weights of the attention to the source are wanted.

        Returns:
            The words (N, T, D), the keys and values of all so far (N, t + T, 2D), and the weights
            (N, T, H, S) where they are wanted.
        """
        inputs = self.attention_residual.enter(words)
        own = self.attention.remember(inputs)
        own = torch.cat([past.to(own.dtype), own], dim=1)
        update, _ = self.attention(inputs, own, causal=words.size(1) > 1)
        words = self.attention_residual.leave(words, update)
        inputs = self.source_residual.enter(words)
        laid = inputs if table is None else table.lay(inputs)
        update, weights = self.source_attention(laid, source, mask=mask, weighed=weighed)
        if table is not None:
            update, weights = table.take(update), None if weights is None else table.take(weights)
        return self.transform(self.source_residual.leave(words, update)), own, weights


class Residual(nn.Module):
    """The way around a sublayer, with its LayerNorm before the sublayer or after the sum."""

    def __init__(self, config: NmtModelConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.embedding)
        self.pre, self.dropout = config.norm == "pre", config.dropout_residual

    def enter(self, stream: Tensor) -> Tensor:
        """Return what the sublayer reads (N, L, D)."""
        return cast("Tensor", self.norm(stream)) if self.pre else stream

    def leave(self, stream: Tensor, update: Tensor) -> Tensor:
        """Add what the sublayer made to the stream (N, L, D)."""
        stream = stream + F.dropout(update, self.dropout, training=self.training)
        return stream if self.pre else cast("Tensor", self.norm(stream))


class FeedForward(nn.Sequential):
    """ReLU(x W₁ + b₁) W₂ + b₂, of each word (section 3.3)."""

    def __init__(self, config: NmtModelConfig) -> None:
        D, hidden = config.embedding, config.feedforward
        super().__init__(nn.Linear(D, hidden), nn.ReLU(), nn.Linear(hidden, D))


class Attention(nn.Module):
    """Scaled dot-product attention with several heads (section 3.2)."""

    def __init__(self, config: NmtModelConfig) -> None:
        super().__init__()
        D, self.heads = config.embedding, config.heads
        self.query, self.output = nn.Linear(D, D), nn.Linear(D, D)
        self.keys_values = nn.Linear(D, 2 * D, bias=False)
        """A key's bias moves all scores of a word alike; a value's would add to the output's."""

    def remember(self, words: Tensor) -> Tensor:
        """Return the keys and values (B, L, 2D) of words (B, L, D)."""
        return cast("Tensor", self.keys_values(words))

    def forward(
        self,
        words: Tensor,
        memory: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        weighed: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Let words look at others.

        Args:
            words: (B, T, D).
            memory: keys and values (B, S, 2D), from `remember`.
            mask: (B, S) bool, True where a word may be looked at; None for all.
            causal: whether word t looks at the first t alone.
            weighed: whether the weights are wanted.

        Returns:
            What the words found (B, T, D), and where, (B, T, H, S), or None.
        """
        query = self._by_head(self.query(words))
        key, value = map(self._by_head, memory.chunk(2, dim=2))
        seen = None if mask is None else mask[:, None, None]
        weights = None
        if weighed:
            scores = query @ key.mT / math.sqrt(query.size(3))
            scores = scores if seen is None else scores.masked_fill(~seen, -torch.inf)
            weights = torch.softmax(scores, dim=3)  # (B, H, T, S)
            found = weights.to(value.dtype) @ value
        else:
            found = F.scaled_dot_product_attention(
                query, key, value, attn_mask=seen, is_causal=causal
            )
        made: Tensor = self.output(found.transpose(1, 2).flatten(2))
        return made, None if weights is None else weights.transpose(1, 2)

    def _by_head(self, words: Tensor) -> Tensor:
        """Cut (B, L, D) into (B, H, L, d)."""
        B, L, D = words.size()
        return words.view(B, L, self.heads, D // self.heads).transpose(1, 2)
