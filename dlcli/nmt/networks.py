"""The recurrent encoder–decoder with additive attention, and the choice of a network.

Bahdanau, Cho & Bengio 2015 (arXiv 1409.0473), appendix A: a bidirectional GRU reads the source; a
GRU writes the target, fed at each word by the last one and by a context, the average of the
encoder's states that attention weighs; a deep output makes words of both.

    e_ij = vᵀ tanh(W s_i + U h_j)      α_i = softmax(e_i)      c_i = Σ_j α_ij h_j
    s_i = GRU(s_{i−1}, [E y_{i−1}; c])      t̃ = U s_i + V E y_{i−1} + C c + b      p ∝ exp(W t + w)

All here is plain operations. Where `dlcli.nmt.fast.paths` knows the network as it is, its faster
forms take the place of the recurrences and of the softmax.

Legend: B batch, S source length, T target length, N hypotheses (B of them in training), V
vocabulary; E embedding, H encoder hidden a direction, D decoder hidden, A attention size,
R readout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.nmt.config import NmtModelConfig
from dlcli.nmt.fast.paths import FastPaths, fast_paths
from dlcli.nmt.model import Forced, Step, TranslationModel, smoothed_cross_entropy
from dlcli.nmt.tokenizer import PAD
from dlcli.nmt.transformer import Transformer

SCORED_PAIRS = 2048
"""Pairs of positions whose scores over the vocabulary are held at once."""
LEAST_GROUP = 4
"""Fewer rows of a product would be summed in another order."""


def build_model(config: NmtModelConfig, *, vocabulary: int) -> TranslationModel:
    """Build the network on the CPU; its weights come from torch's global generator."""
    network = Transformer if config.arch == "transformer" else AttentionGru
    return network(config, vocabulary=vocabulary)


class AttentionGru(TranslationModel):
    """A recurrent encoder–decoder with (or without) additive attention.

    Args:
        config: sizes and kinds.
        vocabulary: V, of the joint vocabulary.
    """

    def __init__(self, config: NmtModelConfig, *, vocabulary: int) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.fused = True
        """Whether fast forms are used; plain operations are what they are held against."""
        E, R = config.embedding, config.readout_size or config.embedding
        self.embedding = nn.Embedding(vocabulary, E)
        self.target_embedding = None if config.tie_embeddings else nn.Embedding(vocabulary, E)
        self.output = None if config.tie_embeddings else nn.Parameter(torch.empty(vocabulary, R))
        self.output_bias = nn.Parameter(torch.zeros(vocabulary))
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.readout = Readout(config)
        initialise(self)

    @property
    def has_attention(self) -> bool:
        """Whether there are weights over the source at all."""
        return self.decoder.attention is not None

    @property
    def attention_signature(self) -> dict[str, object]:
        """See `TranslationModel`."""
        return {"query": self.config.attention_query}

    @property
    def output_weight(self) -> Tensor:
        """The matrix of the softmax (V, R)."""
        return self.embedding.weight if self.output is None else self.output

    @property
    def target_table(self) -> nn.Embedding:
        """The embeddings of the target's words (V, E)."""
        return self.embedding if self.target_embedding is None else self.target_embedding

    def encode(self, source: Tensor, mask: Tensor) -> Memory:
        """See `TranslationModel`."""
        embedded = self._embed(self.embedding, source)
        values, summary = self.encoder(embedded, mask=mask, fast=self._fast())
        values = self._drop(values, self.config.dropout_context)
        return self.decoder.remember(values, summary=summary, mask=mask)

    def start(self, memory: Memory) -> DecoderState:
        """See `TranslationModel`."""
        return self.decoder.look(memory.initial, memory)

    def step(
        self,
        previous: Tensor,
        state: DecoderState,
        memory: Memory,
        *,
        owner: Tensor | None = None,
    ) -> Step:
        """See `TranslationModel`."""
        embedded = self._embed(self.target_table, previous)
        seen, following = self.decoder.advance(embedded, state=state, memory=memory, owner=owner)
        features = self.readout(seen.hidden, embedded=embedded, contexts=seen.context)
        return Step(logits=self.logits(features), attention=seen.attention, state=following)

    def force(self, source: Tensor, mask: Tensor, target_in: Tensor) -> Forced:
        """See `TranslationModel`."""
        read = self._read(source, mask, target_in)
        features = self.readout(read.hidden, embedded=read.embedded, contexts=read.contexts)
        return Forced(features=features, attention=read.attention)

    def logits(self, features: Tensor) -> Tensor:
        """See `TranslationModel`."""
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
        """See `TranslationModel`; padding takes no part in the deep output nor in the softmax."""
        fast = self._fast()
        in_time = target_out.t().flatten()
        real = (in_time != PAD).nonzero()[:, 0]
        targets = in_time[real]
        if fast is not None:
            real, targets = fast.fill_up(real, targets)
        read = self._read(source, mask, target_in)
        features = self.readout(
            _rows(read.hidden, real),
            embedded=_rows(read.embedded, real),
            contexts=_rows(read.contexts, real),
        )
        features = self._drop(features, self.config.dropout_readout)
        if fast is not None:
            loss, nll = fast.word_losses(features, targets, label_smoothing=label_smoothing)
        else:
            logits = F.linear(features, self.output_weight, self.output_bias)
            loss, nll = smoothed_cross_entropy(logits, targets, label_smoothing=label_smoothing)
        return {"loss": loss, "nll": nll}

    def posterior(
        self, source: Tensor, mask: Tensor, *, target_in: Tensor, target_out: Tensor
    ) -> list[Tensor]:
        """See `TranslationModel`.

        Attention α says where the decoder looks *before* it knows what it will write. Had it looked
        at position j alone, it would have written y with probability p(y | c = h_j); so after y is
        seen

            γ_j  =  α_j p(y | c = h_j) / Σ_k α_k p(y | c = h_k)

        is the posterior over positions, with attention as the prior: the E step of a model in which
        a word has one origin (Brown et al. 1993; Shankar & Sarawagi 2019 train with it). A network
        trained on soft contexts was never asked for p(y | c = h_j), so whether it knows is for
        alignment error to tell.
        """
        read = self._read(source, mask, target_in)
        found = []
        sizes = zip((target_out != PAD).sum(dim=1).tolist(), mask.sum(dim=1).tolist(), strict=True)
        for b, (t, s) in enumerate(sizes):
            values, words = read.memory.values[b, :s], target_out[b, :t]
            known = torch.cat([read.hidden[b, :t], read.embedded[b, :t]], dim=1)
            likelihood = self._log_likelihood(known, values=values, words=words)
            attention = read.attention[b, :t, :s]
            found.append(torch.softmax(attention.float().log() + likelihood, dim=1))
        return found

    def _log_likelihood(self, known: Tensor, *, values: Tensor, words: Tensor) -> Tensor:
        """Return log p(y_t | c = h_j): (T, S) float32, a few rows at a time.

        Args:
            known: state and last word (T, D + E).
            values: encoder states (S, 2H).
            words: y (T,) int64.
        """
        linear, S = self.readout.linear, len(values)
        by_state, by_source = linear.weight.tensor_split([known.size(1)], dim=1)
        of_state = F.linear(known, by_state, linear.bias)
        of_source = F.linear(values, by_source)
        found = []
        rows = max(1, SCORED_PAIRS // S)
        for first in range(0, len(known), rows):
            units, wanted = of_state[first : first + rows], words[first : first + rows]
            features = self.readout.activate((units[:, None] + of_source).to(known.dtype))
            scores = F.linear(features, self.output_weight, self.output_bias).float()
            chosen = scores.gather(2, wanted[:, None, None].expand(-1, S, 1))[:, :, 0]
            found.append(chosen - scores.logsumexp(dim=2))
        return torch.cat(found)

    def _read(self, source: Tensor, mask: Tensor, target_in: Tensor) -> Read:
        """Read sentences and given translations of them."""
        embedded = self._embed(self.target_table, target_in)
        memory = self.encode(source, mask)
        fast = self._fast()
        made = None if fast is None else fast.unroll(embedded, memory)
        hidden, contexts, attention = made or self.decoder.unroll(embedded, memory)
        return Read(
            memory=memory,
            embedded=embedded,
            hidden=hidden,
            contexts=contexts,
            attention=attention,
        )

    def _embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        """Map ids (…) to (…, E); of sentences, time comes first in memory, as recurrences want."""
        embedded: Tensor = table(ids.t()).transpose(0, -2) if ids.dim() == 2 else table(ids)
        return self._drop(embedded, self.config.dropout_embedding)

    def _drop(self, values: Tensor, rate: float) -> Tensor:
        return F.dropout(values, rate, training=self.training)

    def _fast(self) -> FastPaths | None:
        return fast_paths(self) if self.fused else None


@dataclass(frozen=True, kw_only=True)
class Read:
    """Sentences and their translations, read through.

    Attributes:
        memory: of the source.
        embedded: the words consumed (B, T, E).
        hidden: s_1 … s_T (B, T, D).
        contexts: what each output sees (B, T, 2H).
        attention: the weights of these (B, T, S); zeros without attention.
    """

    memory: Memory
    embedded: Tensor
    hidden: Tensor
    contexts: Tensor
    attention: Tensor


def _rows(values: Tensor, rows: Tensor) -> Tensor:
    """Pick rows of (B, T, F), counted through time and batch: (M, F)."""
    return values.transpose(0, 1).flatten(0, 1).index_select(0, rows)


def initialise(model: AttentionGru) -> None:
    """Draw the weights from torch's global generator.

    Recurrent matrices are orthogonal, as in the paper; others Glorot uniform; embeddings normal
    with deviation E^-½, so that logits of tied embeddings start near zero; biases and v zero, so
    that attention starts uniform.
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


class Encoder(nn.Module):
    """Embedded words → states that have read the sentence from both sides (section A.2.1).

    Each layer reads the concatenated states of the one below.
    """

    def __init__(self, config: NmtModelConfig) -> None:
        super().__init__()
        hidden, self.dropout = config.encoder_hidden, config.dropout_context
        sizes = [config.embedding] + [2 * hidden] * (config.encoder_layers - 1)
        self.forwards = nn.ModuleList(nn.GRUCell(size, hidden) for size in sizes)
        self.backwards = nn.ModuleList(nn.GRUCell(size, hidden) for size in sizes)

    def forward(
        self, embedded: Tensor, *, mask: Tensor, fast: FastPaths | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read sentences.

        Args:
            embedded: (B, S, E).
            mask: (B, S) bool.
            fast: faster recurrences, where there are any.

        Returns:
            The top layer's states (B, S, 2H), zero on padding, and its summary (B, 2H): what the
            forward direction ends with at the last word, and the backward one at the first.
        """
        states, summary = embedded, embedded
        read = read_both_ways if fast is None else fast.read
        for number, (ahead, back) in enumerate(zip(self.forwards, self.backwards, strict=True)):
            assert isinstance(ahead, nn.GRUCell)
            assert isinstance(back, nn.GRUCell)
            if number:
                states = F.dropout(states, self.dropout, training=self.training)
            states, summary = read(states, cells=(ahead, back), mask=mask)
        return states, summary


def read_both_ways(
    inputs: Tensor, *, cells: Sequence[nn.GRUCell], mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Read a layer's inputs (B, S, I) from the front and, with the second cell, from the end."""
    left, left_end = run_gru(cells[0], inputs, mask=mask)
    right, right_end = run_gru(cells[1], inputs, mask=mask, backward=True)
    return torch.cat([left, right], dim=2), torch.cat([left_end, right_end], dim=1)


def run_gru(
    cell: nn.GRUCell, inputs: Tensor, *, mask: Tensor, backward: bool = False
) -> tuple[Tensor, Tensor]:
    """Read sequences from one end to the other; padding leaves the state as it is.

    The backward direction therefore begins at a sentence's real end, without any packing.

    Args:
        cell: the parameters.
        inputs: (B, S, I).
        mask: (B, S) bool, True where there is a token.
        backward: whether to read from the end.

    Returns:
        The states (B, S, H), zero on padding, and the state after the last token read (B, H).
    """
    B, S, _ = inputs.size()
    projected = F.linear(inputs, cell.weight_ih, cell.bias_ih)  # (B, S, 3H)
    hidden = cell.weight_hh.new_zeros(B, cell.hidden_size)
    states: list[Tensor] = [hidden] * S
    for t in reversed(range(S)) if backward else range(S):
        step = gru_step(cell, projected[:, t], hidden=hidden)
        hidden = torch.where(mask[:, t, None], step, hidden)
        states[t] = hidden
    return torch.stack(states, dim=1) * mask[:, :, None], hidden


def gru_step(cell: nn.GRUCell, projected: Tensor, *, hidden: Tensor) -> Tensor:
    """Take one step of a GRU, whose gates are those of `torch.nn.GRUCell` (Cho et al. 2014).

        r = σ(W_r x + b_r + U_r h + c_r)      z = σ(W_z x + b_z + U_z h + c_z)
        n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n))      h' = (1 − z) ⊙ n + z ⊙ h

    Under autocast the products are bfloat16; the state stays in the weights' own precision.

    Args:
        cell: the parameters.
        projected: W x + b (B, 3H).
        hidden: h (B, H).

    Returns:
        h' (B, H).
    """
    recurrent = F.linear(hidden, cell.weight_hh, cell.bias_hh).to(hidden.dtype)
    x_r, x_z, x_n = projected.to(hidden.dtype).chunk(3, dim=1)
    h_r, h_z, h_n = recurrent.chunk(3, dim=1)
    reset, update = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    candidate = torch.tanh(x_n + reset * h_n)
    return candidate + update * (hidden - candidate)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the decoder knows of the source; computed once a sentence.

    Attributes:
        values: encoder states (B, S, 2H).
        keys: their projections (B, S, A); without attention (B, S, 0).
        mask: (B, S) bool, True where there is a token.
        summary: (B, 2H), the context of every step where there is no attention.
        initial: the decoder's first state (B, D).
    """

    values: Tensor
    keys: Tensor
    mask: Tensor
    summary: Tensor
    initial: Tensor


@dataclass(frozen=True, kw_only=True)
class DecoderState:
    """The decoder between two words: hidden (N, D), and what it sees: context (N, 2H), attention
    (N, S)."""

    hidden: Tensor
    context: Tensor
    attention: Tensor

    def select(self, rows: Tensor) -> DecoderState:
        """Return the state of these rows (int64), in this order."""
        return DecoderState(
            hidden=self.hidden[rows], context=self.context[rows], attention=self.attention[rows]
        )


class Decoder(nn.Module):
    """The recurrence and its attention (section A.2.2).

    One recurrence serves both kinds of query. `previous` is the paper's: output i sees
    attend(s_{i−1}), the context that the step consumed, and s_i. `updated`: output i sees
    attend(s_i), where s_i has consumed y_{i−1}. So T steps take T + 1 attentions, and the kinds
    differ in which T the output sees.
    """

    def __init__(self, config: NmtModelConfig) -> None:
        super().__init__()
        values = 2 * config.encoder_hidden
        self.attention_query = config.attention_query
        self.bridge = nn.Linear(values, config.hidden)
        self.cell = nn.GRUCell(config.embedding + values, config.hidden)
        additive = config.attention == "additive"
        self.attention = AdditiveAttention(config) if additive else None
        """Without it the summary is the context of every step."""

    def remember(self, values: Tensor, *, summary: Tensor, mask: Tensor) -> Memory:
        """Prepare the source: keys, and the first state tanh(W summary + b).

        The paper's first state takes the backward direction's end alone; the summary has both.
        """
        initial = torch.tanh(self.bridge(summary)).to(values.dtype)
        keys = values[:, :, :0] if self.attention is None else self.attention.project(values)
        return Memory(values=values, keys=keys, mask=mask, summary=summary, initial=initial)

    def look(self, hidden: Tensor, memory: Memory, *, owner: Tensor | None = None) -> DecoderState:
        """Attend to the source from N states; `owner`: see `AdditiveAttention`."""
        if self.attention is None:
            summary = memory.summary if owner is None else memory.summary[owner]
            nowhere = memory.values.new_zeros(len(summary), memory.mask.size(1))
            return DecoderState(hidden=hidden, context=summary, attention=nowhere)
        context, weights = self.attention(
            hidden, keys=memory.keys, values=memory.values, mask=memory.mask, owner=owner
        )
        return DecoderState(hidden=hidden, context=context, attention=weights)

    def advance(
        self, embedded: Tensor, *, state: DecoderState, memory: Memory, owner: Tensor | None = None
    ) -> tuple[DecoderState, DecoderState]:
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
        seen = DecoderState(hidden=hidden, context=state.context, attention=state.attention)
        return seen, following

    def unroll(self, embedded: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """Consume given words (B, T, E); return states, contexts, attention: see `Read`."""
        state = self.look(memory.initial, memory)
        seen: list[DecoderState] = []
        for t in range(embedded.size(1)):
            output, state = self.advance(embedded[:, t], state=state, memory=memory)
            seen.append(output)
        return (
            torch.stack([one.hidden for one in seen], dim=1),
            torch.stack([one.context for one in seen], dim=1),
            torch.stack([one.attention for one in seen], dim=1),
        )


class AdditiveAttention(nn.Module):
    """Weights over the source, given the decoder's state (section A.1.2).

    U h_j does not depend on the step and is projected once a sentence.
    """

    def __init__(self, config: NmtModelConfig) -> None:
        super().__init__()
        A = config.attention_size
        self.query = nn.Linear(config.hidden, A, bias=False)
        self.key = nn.Linear(2 * config.encoder_hidden, A)
        self.v = nn.Parameter(torch.zeros(A))

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
            hidden: the states s (N, D).
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
    """Average values (B, S, 2H) by weights (N, S), without a copy of them for each hypothesis."""
    place = torch.arange(len(owner), device=owner.device) - torch.searchsorted(owner, owner)
    G = max(LEAST_GROUP, int(place.max()) + 1)
    table = weights.new_zeros(len(values), G, weights.size(1))
    table[owner, place] = weights
    contexts: Tensor = (table @ values)[owner, place]
    return contexts


class Readout(nn.Module):
    """The deep output: one hidden layer over state, last word and context (section A.2.2).

    Its units are `maxout` over pairs (Goodfellow et al. 2013), or `tanh`.
    """

    def __init__(self, config: NmtModelConfig) -> None:
        super().__init__()
        inputs = config.hidden + config.embedding + 2 * config.encoder_hidden
        R = config.readout_size or config.embedding
        self.maxout = config.readout == "maxout"
        self.linear = nn.Linear(inputs, 2 * R if self.maxout else R)

    def forward(self, hidden: Tensor, *, embedded: Tensor, contexts: Tensor) -> Tensor:
        """Map (…, D), (…, E) and (…, 2H) to features (…, R)."""
        units: Tensor = self.linear(torch.cat([hidden, embedded, contexts], dim=-1))
        return self.activate(units.to(hidden.dtype))

    def activate(self, units: Tensor) -> Tensor:
        """Take the maximum of each pair of units (…, 2R), or the tanh of each (…, R)."""
        if not self.maxout:
            return torch.tanh(units)
        first, second = units.chunk(2, dim=-1)
        return torch.maximum(first, second)
