"""The translator's network: encoder, attention, decoder, deep output.

Bahdanau, Cho & Bengio 2015 (arXiv 1409.0473), appendix A. Source ids end with EOS, which the
encoder reads and attention may look at; padding comes after it.

Legend: B batch, S source length, T target length, E embedding, H encoder hidden a direction,
N decoder hidden, A attention size, R readout, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.nmt.config import NmtModelConfig
from dlcli.nmt.decoder import Decoder, Memory, State, States
from dlcli.nmt.encoder import Encoder
from dlcli.nmt.posterior import Reading, source_posterior
from dlcli.nmt.readout import Readout, smoothed_cross_entropy
from dlcli.nmt.softmax_loss import NO_WORD, ROWS, softmax_loss
from dlcli.nmt.tokenizer import PAD


@dataclass(frozen=True, kw_only=True)
class Step:
    """One decoded position: logits (B, V), attention (B, S), and the state to go on with."""

    logits: Tensor
    attention: Tensor
    state: State


@dataclass(frozen=True, kw_only=True)
class Forced:
    """A given translation, read through: features (B, T, R) and attention (B, T, S).

    Row t belongs to the word that comes after `target_in[:, t]`.
    """

    features: Tensor
    attention: Tensor


class Translation(nn.Module):
    """A recurrent encoder–decoder with (or without) additive attention.

    Args:
        config: sizes and kinds.
        vocabulary: V, of the joint vocabulary.
    """

    def __init__(self, config: NmtModelConfig, *, vocabulary: int) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        E, values, R = config.embedding, 2 * config.encoder_hidden, config.readout_size
        R = R or E
        self.embedding = nn.Embedding(vocabulary, E)
        self.target_embedding = None if config.tie_embeddings else nn.Embedding(vocabulary, E)
        self.output = None if config.tie_embeddings else nn.Parameter(torch.empty(vocabulary, R))
        self.output_bias = nn.Parameter(torch.zeros(vocabulary))
        self.encoder = Encoder(
            inputs=E,
            hidden=config.encoder_hidden,
            layers=config.encoder_layers,
            dropout=config.dropout_context,
        )
        self.decoder = Decoder(
            embedding=E,
            value_size=values,
            hidden=config.hidden,
            attention_size=config.attention_size,
            attention=config.attention,
            attention_query=config.attention_query,
        )
        self.readout = Readout(inputs=config.hidden + E + values, size=R, kind=config.readout)
        self.use_kernels(True)
        initialise(self)

    def use_kernels(self, wanted: bool) -> None:
        """Switch between the fused functions and the plain operations that they are held against.

        Both have the same results and gradients, to rounding; `step` is always plain.
        """
        self.fused = self.encoder.fused = self.decoder.fused = wanted

    @property
    def output_weight(self) -> Tensor:
        """The matrix of the softmax (V, R)."""
        return self.embedding.weight if self.output is None else self.output

    @property
    def target_table(self) -> nn.Embedding:
        """The embeddings of the target's words (V, E)."""
        return self.embedding if self.target_embedding is None else self.target_embedding

    def encode(self, source: Tensor, mask: Tensor) -> Memory:
        """Read sentences.

        Args:
            source: ids (B, S) int64, each sentence with its EOS.
            mask: (B, S) bool, True where there is a token.
        """
        embedded = self._embed(self.embedding, source)
        values, summary = self.encoder(embedded, mask=mask)
        values = self._drop(values, self.config.dropout_context)
        return self.decoder.remember(values, summary=summary, mask=mask)

    def start(self, memory: Memory) -> State:
        """Return the state before the first word, BOS, is consumed."""
        return self.decoder.look(memory.initial, memory)

    def step(
        self, previous: Tensor, state: State, memory: Memory, *, owner: Tensor | None = None
    ) -> Step:
        """Consume one word and score the next.

        Args:
            previous: ids (N,) int64; BOS first.
            state: of these N hypotheses.
            memory: of B sentences.
            owner: (N,) int64, rising: which sentence each hypothesis translates; by default row i
                is of sentence i and N = B.
        """
        embedded = self._embed_target(previous)
        seen, following = self.decoder.advance(embedded, state=state, memory=memory, owner=owner)
        features = self.readout(seen.hidden, embedded=embedded, contexts=seen.context)
        return Step(logits=self.logits(features), attention=seen.attention, state=following)

    def force(self, source: Tensor, mask: Tensor, target_in: Tensor) -> Forced:
        """Read a given translation: `target_in` (B, T) is BOS y1 y2 …"""
        embedded, states = self._unroll(source, mask, target_in)
        features = self.readout(states.hidden, embedded=embedded, contexts=states.contexts)
        return Forced(features=features, attention=states.attention)

    def posterior(
        self, source: Tensor, mask: Tensor, *, target_in: Tensor, target_out: Tensor
    ) -> list[Tensor]:
        """Read given translations, and say where each of their words came from.

        Args:
            source: (B, S) int64.
            mask: (B, S) bool.
            target_in: (B, T) int64, BOS y1 …
            target_out: (B, T) int64, y1 … EOS; padding after it.

        Returns:
            For each sentence (t, s) float32 without padding, see `posterior.source_posterior`.
        """
        memory = self.encode(source, mask)
        embedded = self._embed_target(target_in)
        states = self.decoder.unroll(embedded, memory)
        sizes = zip((target_out != PAD).sum(dim=1).tolist(), mask.sum(dim=1).tolist(), strict=True)
        return [
            source_posterior(
                Reading(
                    hidden=states.hidden[b, :t],
                    embedded=embedded[b, :t],
                    attention=states.attention[b, :t, :s],
                    values=memory.values[b, :s],
                    words=target_out[b, :t],
                ),
                readout=self.readout,
                weight=self.output_weight,
                bias=self.output_bias,
            )
            for b, (t, s) in enumerate(sizes)
        ]

    def logits(self, features: Tensor) -> Tensor:
        """Map features (…, R) to unnormalised log-probabilities (…, V)."""
        dropped = self._drop(features, self.config.dropout_readout)
        return F.linear(dropped, self.output_weight, self.output_bias)

    def loss(
        self,
        source: Tensor,
        mask: Tensor,
        *,
        target_in: Tensor,
        target_out: Tensor,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """Sum `loss` (label-smoothed) and `nll` over the target words, in nats.

        Args:
            source: (B, S) int64.
            mask: (B, S) bool.
            target_in: (B, T) int64, BOS y1 …
            target_out: (B, T) int64, y1 … EOS; padding is not counted.
            label_smoothing: ε in [0, 1).
        """
        in_time = target_out.t().flatten()
        real = (in_time != PAD).nonzero()[:, 0]
        targets = in_time[real]
        if self.fused:
            spare = -len(real) % ROWS
            real, targets = F.pad(real, (0, spare)), F.pad(targets, (0, spare), value=NO_WORD)
        embedded, states = self._unroll(source, mask, target_in)
        features = self.readout(
            _rows(states.hidden, real),
            embedded=_rows(embedded, real),
            contexts=_rows(states.contexts, real),
        )
        loss, nll = self._word_losses(
            self._drop(features, self.config.dropout_readout),
            targets=targets,
            label_smoothing=label_smoothing,
        )
        return {"loss": loss, "nll": nll}

    def _unroll(self, source: Tensor, mask: Tensor, target_in: Tensor) -> tuple[Tensor, States]:
        embedded = self._embed_target(target_in)
        return embedded, self.decoder.unroll(embedded, self.encode(source, mask))

    def _word_losses(
        self, features: Tensor, *, targets: Tensor, label_smoothing: float
    ) -> tuple[Tensor, Tensor]:
        weight, bias = self.output_weight, self.output_bias
        if self.fused:
            return softmax_loss(
                features,
                weight=weight,
                bias=bias,
                targets=targets,
                label_smoothing=label_smoothing,
            )
        logits = F.linear(features, weight, bias)
        return smoothed_cross_entropy(logits, targets, label_smoothing=label_smoothing)

    def _embed_target(self, ids: Tensor) -> Tensor:
        return self._embed(self.target_table, ids)

    def _embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        """Map ids (…) to (…, E); of sentences, time comes first in memory, as recurrences want."""
        embedded: Tensor = table(ids.t()).transpose(0, -2) if ids.dim() == 2 else table(ids)
        return self._drop(embedded, self.config.dropout_embedding)

    def _drop(self, values: Tensor, rate: float) -> Tensor:
        return F.dropout(values, rate, training=self.training)


def _rows(values: Tensor, rows: Tensor) -> Tensor:
    """Pick rows of (B, T, F), counted through time and batch: (M, F)."""
    return values.transpose(0, 1).flatten(0, 1).index_select(0, rows)


def initialise(model: Translation) -> None:
    """Draw the weights from torch's global generator.

    Recurrent matrices are orthogonal, as in the paper; others Glorot uniform; embeddings normal
    with deviation E^-½, so that logits of tied embeddings start near zero; biases and v zero.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            nn.init.zeros_(parameter)
        elif name.endswith("weight_hh"):
            for gate in parameter.chunk(3):
                nn.init.orthogonal_(gate)
        elif "embedding" in name or name == "output":
            nn.init.normal_(parameter, std=parameter.size(1) ** -0.5)
        else:
            nn.init.xavier_uniform_(parameter)


def build_model(config: NmtModelConfig, *, vocabulary: int) -> Translation:
    """Build the network on the CPU; its weights come from torch's global generator."""
    return Translation(config, vocabulary=vocabulary)
