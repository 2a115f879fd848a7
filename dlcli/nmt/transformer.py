"""The Transformer: a translator of attention alone.

Vaswani et al. 2017 (arXiv 1706.03762). Encoder and decoder are stacks of residual sublayers:
self-attention, in the decoder attention to the source, and a feed-forward network of each word.

    Attention(Q, K, V) = softmax(Q Kᵀ / √d) V
    post (the paper's):  x ← LN(x + A(x))      pre (Xiong et al. 2020):  x ← x + A(LN(x))

Encoder and decoder may differ in depth: one layer of decoder after a deep encoder translates as
well and is faster (Kasai et al. 2021). A step of the search computes one word, and keeps the keys
and values of those before. Attention weights are computed in one layer only, and where they are
wanted; elsewhere PyTorch's fused attention takes their place.

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

    @property
    def attention_heads(self) -> tuple[int, int]:
        """See `TranslationModel`."""
        return self.config.depths[1], self.config.heads

    def choose_attention(self, *, layer: int | None = None, head: int | None = None) -> None:
        """See `TranslationModel`.

        By default it is the mean over the heads of the last layer but one, which aligns words
        better than the last (Garg et al. 2019).
        """
        layers, heads = self.attention_heads
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
        x = self._embed(self.embedding, source)
        for layer in self.encoder:
            x = layer(x, mask=mask)
        x = self.encoder_norm(x)
        keys_values = tuple(layer.source_attention.project(x) for layer in self._decoder_layers)
        return Memory(keys_values=keys_values, mask=mask)

    def start(self, memory: Memory) -> Cache:
        """See `TranslationModel`."""
        return Cache(keys_values=tuple(one[:, :0] for one in memory.keys_values))

    def step(
        self, previous: Tensor, state: Cache, memory: Memory, *, owner: Tensor | None = None
    ) -> Step:
        """See `TranslationModel`."""
        groups = None if owner is None else Groups(owner, sentences=len(memory.mask))
        features, attention, cache = self._decode(
            previous[:, None], memory, cache=state, groups=groups
        )
        return Step(logits=self.logits(features[:, 0]), attention=attention[:, 0], state=cache)

    def force(self, source: Tensor, mask: Tensor, target_in: Tensor) -> Forced:
        """See `TranslationModel`."""
        memory = self.encode(source, mask)
        features, attention, _ = self._decode(target_in, memory, cache=self.start(memory))
        return Forced(features=features, attention=attention)

    def features(self, source: Tensor, mask: Tensor, target_in: Tensor) -> Tensor:
        """See `TranslationModel`."""
        memory = self.encode(source, mask)
        return self._decode(target_in, memory, cache=self.start(memory), need_weights=False)[0]

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

    def _decode(
        self,
        ids: Tensor,
        memory: Memory,
        *,
        cache: Cache,
        groups: Groups | None = None,
        need_weights: bool = True,
    ) -> tuple[Tensor, Tensor, Cache]:
        """Consume words (N, T) after those of the cache; see `DecoderLayer`.

        Returns:
            Features (N, T, D), attention (N, T, S) if it is wanted, and the cache of all words.
        """
        embedding = self.target_embedding or self.embedding
        x = self._embed(embedding, ids, first=cache.keys_values[0].size(1))
        grown, attention = [], x.new_zeros(0)
        layers = zip(self._decoder_layers, cache.keys_values, memory.keys_values, strict=True)
        for number, (layer, cached, source) in enumerate(layers, start=1):
            x, own, weights = layer(
                x,
                cached=cached,
                source=source,
                mask=memory.mask,
                groups=groups,
                need_weights=need_weights and number == self.shown_layer,
            )
            grown.append(own)
            if weights is not None:
                head = self.shown_head
                attention = weights.mean(dim=2) if head is None else weights[:, :, head - 1]
        return self.decoder_norm(x), attention, Cache(keys_values=tuple(grown))

    def _embed(self, table: nn.Embedding, ids: Tensor, *, first: int = 0) -> Tensor:
        """Map ids (N, L), of which the first has position `first`, to (N, L, D)."""
        D = table.embedding_dim
        x: Tensor = table(ids) * math.sqrt(D)
        x = x + positional_encoding(ids.size(1), D, first=first, like=x)
        return F.dropout(x, self.config.dropout_embedding, training=self.training)

    @property
    def _decoder_layers(self) -> list[DecoderLayer]:
        return [cast("DecoderLayer", layer) for layer in self.decoder]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The source as each layer of the decoder sees it: keys and values (B, S, 2D); mask (B, S)."""

    keys_values: tuple[Tensor, ...]
    mask: Tensor


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The words so far as each layer of the decoder sees them: keys and values (N, t, 2D)."""

    keys_values: tuple[Tensor, ...]

    def select(self, rows: Tensor) -> Cache:
        """Return the state of these rows (int64), in this order."""
        return Cache(keys_values=tuple(one[rows] for one in self.keys_values))


class Groups:
    """Hypotheses side by side by sentence, so that the source is not copied for each of them.

    Args:
        owner: (N,) the sentence of each hypothesis, rising.
        sentences: B.
    """

    def __init__(self, owner: Tensor, *, sentences: int) -> None:
        column = torch.arange(len(owner), device=owner.device) - torch.searchsorted(owner, owner)
        self.cells, self.shape = (owner, column), (sentences, int(column.max()) + 1)

    def pack(self, rows: Tensor) -> Tensor:
        """Put rows (N, 1, D) side by side: (B, G, D), zeros where a sentence has fewer than G."""
        packed = rows.new_zeros(*self.shape, rows.size(2))
        packed[self.cells] = rows[:, 0]
        return packed

    def unpack(self, packed: Tensor) -> Tensor:
        """Take the rows (N, 1, …) out of (B, G, …)."""
        return packed[self.cells][:, None]


def positional_encoding(length: int, width: int, *, first: int, like: Tensor) -> Tensor:
    """Return the sinusoids (L, D) of the positions from `first` on (section 3.5)."""
    position = torch.arange(first, first + length, device=like.device)[:, None]
    even = torch.arange(0, width, 2, device=like.device)
    angles = position * torch.exp(even * (-math.log(10_000) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width].to(like.dtype)


def initialise(model: Transformer) -> None:
    """Draw the weights from torch's global generator.

    Embeddings are normal with deviation D^-½: multiplied by √D they are as large as the positional
    encoding, and logits start small. Other matrices are Glorot uniform, biases zero.
    """
    for name, parameter in model.named_parameters():
        if "embedding" in name or name == "output":
            nn.init.normal_(parameter, std=parameter.size(1) ** -0.5)
        elif parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


class Layer(nn.Module):
    """What layers of both stacks have: self-attention, and a feed-forward network."""

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

    def feed_forward(self, x: Tensor) -> Tensor:
        """Apply the feed-forward sublayer to (N, L, D)."""
        update = self.feedforward(self.feedforward_residual.before(x))
        return self.feedforward_residual.after(x, update)


class EncoderLayer(Layer):
    """Self-attention of source words, and a feed-forward network."""

    def forward(self, x: Tensor, *, mask: Tensor) -> Tensor:
        """Map (B, S, D) to (B, S, D); words attend to where the mask (B, S) is True."""
        inputs = self.attention_residual.before(x)
        update, _ = self.attention(inputs, self.attention.project(inputs), mask=mask)
        return self.feed_forward(self.attention_residual.after(x, update))


class DecoderLayer(Layer):
    """Attention to the words before, attention to the source, and a feed-forward network."""

    def __init__(self, config: NmtModelConfig) -> None:
        super().__init__(config)
        self.source_attention = Attention(config)
        self.source_residual = Residual(config)

    def forward(
        self,
        x: Tensor,
        *,
        cached: Tensor,
        source: Tensor,
        mask: Tensor,
        groups: Groups | None,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Consume words.

        Args:
            x: (N, T, D): whole translations (t = 0), or the next word of each (T = 1).
            cached: keys and values (N, t, 2D) of the words before.
            source: keys and values (B, S, 2D).
            mask: (B, S) bool.
            groups: which of the B sentences each of N hypotheses translates; None where N = B.
            need_weights: whether the weights of the attention to the source are wanted.

        Returns:
            The words (N, T, D), the keys and values of all so far (N, t + T, 2D), and the weights
            (N, T, H, S) where they are wanted.
        """
        inputs = self.attention_residual.before(x)
        own = self.attention.project(inputs)
        own = torch.cat([cached.to(own.dtype), own], dim=1)
        update, _ = self.attention(inputs, own, causal=x.size(1) > 1)
        x = self.attention_residual.after(x, update)
        inputs = self.source_residual.before(x)
        packed = inputs if groups is None else groups.pack(inputs)
        update, weights = self.source_attention(
            packed, source, mask=mask, need_weights=need_weights
        )
        if groups is not None:
            update = groups.unpack(update)
            weights = None if weights is None else groups.unpack(weights)
        return self.feed_forward(self.source_residual.after(x, update)), own, weights


class Residual(nn.Module):
    """The connection around a sublayer, with LayerNorm before the sublayer or after the sum."""

    def __init__(self, config: NmtModelConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.embedding)
        self.pre, self.dropout = config.norm == "pre", config.dropout_residual

    def before(self, x: Tensor) -> Tensor:
        """Return what the sublayer reads (N, L, D)."""
        return cast("Tensor", self.norm(x)) if self.pre else x

    def after(self, x: Tensor, update: Tensor) -> Tensor:
        """Add what the sublayer returned to the stream x (N, L, D)."""
        x = x + F.dropout(update, self.dropout, training=self.training)
        return x if self.pre else cast("Tensor", self.norm(x))


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

    def project(self, x: Tensor) -> Tensor:
        """Return the keys and values (B, L, 2D) of words (B, L, D)."""
        return cast("Tensor", self.keys_values(x))

    def forward(
        self,
        x: Tensor,
        keys_values: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Let words attend to others.

        Args:
            x: (B, T, D).
            keys_values: (B, S, 2D), from `project`.
            mask: (B, S) bool, True where a word may be attended to; None for all.
            causal: whether word t attends to the first t alone.
            need_weights: whether the weights are wanted.

        Returns:
            The heads' outputs, joined (B, T, D), and the weights (B, T, H, S), or None.
        """
        query = self._by_head(self.query(x))
        key, value = map(self._by_head, keys_values.chunk(2, dim=2))
        real = None if mask is None else mask[:, None, None]
        weights = None
        if need_weights:
            scores = query @ key.mT / math.sqrt(query.size(3))
            scores = scores if real is None else scores.masked_fill(~real, -torch.inf)
            weights = torch.softmax(scores, dim=3)  # (B, H, T, S)
            found = weights.to(value.dtype) @ value
        else:
            found = F.scaled_dot_product_attention(
                query, key, value, attn_mask=real, is_causal=causal
            )
        joined: Tensor = self.output(found.transpose(1, 2).flatten(2))
        return joined, None if weights is None else weights.transpose(1, 2)

    def _by_head(self, x: Tensor) -> Tensor:
        """Split (B, L, D) into (B, H, L, d)."""
        B, L, D = x.size()
        return x.view(B, L, self.heads, D // self.heads).transpose(1, 2)
