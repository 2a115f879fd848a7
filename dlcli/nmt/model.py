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

from dlcli.nmt.batching import SentenceBatch
from dlcli.nmt.config import NmtModelConfig, NmtObjectiveConfig
from dlcli.nmt.decoder import Decoder, Memory, Readout, State, States, smoothed_cross_entropy
from dlcli.nmt.encoder import Encoder
from dlcli.nmt.fast.recurrence import NO_WORD, ROWS, softmax_loss
from dlcli.nmt.tokenizer import PAD

# -- Which source word a target word was made from, once it is known: Bayes' rule over attention
# Attention α says where the decoder looks *before* it knows what it will write. Had it looked at
# position j alone, it would have written y with probability p(y | c = h_j); so after y is seen
#
# γ_j  =  α_j p(y | c = h_j) / Σ_k α_k p(y | c = h_k)
#
# is the posterior over positions, with attention as the prior: the E step of a model in which a
# word has one origin (Brown et al. 1993; Shankar & Sarawagi 2019 train with it). A network trained
# on soft contexts was never asked for p(y | c = h_j), so whether it knows is for alignment error
# to tell.
#
# Legend: S source length, T target length, E embedding, H encoder hidden a direction, N decoder
# hidden, R readout, V vocabulary.

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


# -- Teacher forcing: which words the decoder is fed while it learns (Question 14)
# With ratio 1 it is fed the true last word, with 0 its own, and between them a coin decides for
# each token or for each sentence (scheduled sampling, Bengio et al. 2015, where the ratio falls
# linearly). Its own word is the likeliest under what it was fed so far, without dropout, as when
# it translates.
#
# The choice of words passes no gradient on. So it is made first, and the loss is then that of
# reading the chosen words, for which the fast path serves.


def ratio_at(config: NmtObjectiveConfig, *, progress: float) -> float:
    """Return the share of true words when `progress` (0 to 1) of the training is done."""
    end = config.teacher_forcing_end
    if end is None:
        return config.teacher_forcing
    return config.teacher_forcing + (end - config.teacher_forcing) * min(1.0, progress)


def draw_true(
    sentences: int, *, length: int, ratio: float, unit: str, generator: torch.Generator
) -> Tensor:
    """Draw where the true word is fed: (sentences, length) bool, on the generator's device.

    Args:
        sentences: of the global batch.
        length: of its longest translation.
        ratio: share of true words.
        unit: `token` or `sentence`.
        generator: of this batch.
    """
    shape = (sentences, length if unit == "token" else 1)
    draws = torch.rand(shape, generator=generator, device=generator.device)
    return (draws < ratio).expand(sentences, length)


@torch.no_grad()
def feed(model: Translation, source: Tensor, mask: Tensor, *, true: Tensor, keep: Tensor) -> Tensor:
    """Return what the decoder is fed where it must partly go on from its own words.

    Args:
        model: in any mode; it is left in the same.
        source: (B, S) int64.
        mask: (B, S) bool.
        true: (B, T) int64, BOS y1 …
        keep: (B, T) bool, where the true word is fed; BOS always is.

    Returns:
        (B, T) int64.
    """
    was_training = model.training
    model.eval()
    memory = model.encode(source, mask)
    state = model.start(memory)
    fed = [true[:, 0]]
    for t in range(1, true.size(1)):
        step = model.step(fed[-1], state, memory)
        own = step.logits.argmax(1)
        fed.append(torch.where(keep[:, t], true[:, t], own))
        state = step.state
    model.train(was_training)
    return torch.stack(fed, dim=1)


class NmtNetwork(nn.Module):
    """A translator with its objective: what the training loop calls.

    Args:
        model: the network.
        label_smoothing: share of the target given to all tokens alike.
    """

    def __init__(self, model: Translation, *, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: SentenceBatch, keep: Tensor | None = None) -> dict[str, Tensor]:
        """Return sums over this process's target tokens, in nats.

        Args:
            batch: sentences and their translations.
            keep: (B, T) bool, where the true word is fed; None: everywhere.

        Returns:
            `loss`, which is minimised, and `nll`, without label smoothing.
        """
        target_in = batch.target_in
        if keep is not None:
            target_in = feed(self.model, batch.source, batch.mask, true=target_in, keep=keep)
        return self.model.loss(
            batch.source,
            batch.mask,
            target_in=target_in,
            target_out=batch.target_out,
            label_smoothing=self.label_smoothing,
        )


@torch.inference_mode()
def validation_sums(model: Translation, batch: SentenceBatch, *, free: bool) -> float:
    """Return the summed negative log-likelihood of translations, in nats.

    Args:
        model: in evaluation mode.
        batch: sentences and their translations.
        free: whether the decoder is fed its own words (free-running) instead of the true ones.
    """
    fed = batch.target_in
    if free:
        nothing = torch.zeros_like(fed, dtype=torch.bool)
        fed = feed(model, batch.source, batch.mask, true=fed, keep=nothing)
    found = model.loss(batch.source, batch.mask, target_in=fed, target_out=batch.target_out)
    return float(found["nll"])
