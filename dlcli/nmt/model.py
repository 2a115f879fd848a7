"""What a translator is, and what it is trained on.

`TranslationModel` is all that search, training, validation, attention, alignment and the posterior
know of a network. Another network is a subclass in a file of its own, a choice in `config.py`, and
a line in `networks.build_model`.

Legend: B sentences, N hypotheses of them, S source length, T target length, R features,
V vocabulary. A source sentence ends with EOS, and padding comes after it; masks are True for real
tokens. Losses are nats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcli.errors import UsageFault
from dlcli.nmt.config import NmtObjectiveConfig
from dlcli.nmt.tokenizer import PAD

if TYPE_CHECKING:
    from dlcli.nmt.batching import SentenceBatch


class State(Protocol):
    """What a decoder knows between two words, of N hypotheses; it may grow with every word."""

    def select(self, rows: Tensor) -> Self:
        """Return the state of these hypotheses (M,) int64, in this order; some may come twice."""
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """One word further: logits (N, V), attention (N, S), and the state to go on with."""

    logits: Tensor
    attention: Tensor
    state: Any


@dataclass(frozen=True, kw_only=True)
class Forced:
    """A given translation, read through: features (B, T, R) and attention (B, T, S).

    Row t belongs to the word that comes after `target_in[:, t]`.
    """

    features: Tensor
    attention: Tensor


class TranslationModel(nn.Module, ABC):
    """A network that translates.

    What it keeps of its sources (`memory`) and of the words so far (`state`, see `State`) is its
    own business. Attention sums to one over the source, is zero on padding, and is zero everywhere
    in a model that has none.
    """

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    @property
    def has_attention(self) -> bool:
        """Whether `Step.attention` and `Forced.attention` say anything."""
        return True

    @property
    def residual_stacks(self) -> dict[str, list[nn.Module]]:
        """Its residual layers by stack, from the input on; none in a recurrent network."""
        return {}

    @property
    def attention_heads(self) -> tuple[int, int]:
        """How many layers of the decoder attend to the source, and with how many heads each."""
        return 1, 1

    @property
    def attention_signature(self) -> dict[str, object]:
        """Which attention they hold, where a network has several, for signatures."""
        return {}

    def choose_attention(self, *, layer: int | None = None, head: int | None = None) -> None:
        """Choose which attention they hold; layers and heads count from 1.

        Args:
            layer: of the decoder; None is the network's own choice.
            head: of the layer; None is the mean of all.

        Raises:
            UsageFault: there is no such layer or head.
        """
        if (layer, head) != (None, None):
            raise UsageFault(
                "This model has one attention, without layers and heads.",
                hint="Leave out --layer and --head, which are for a Transformer.",
            )

    @abstractmethod
    def encode(self, source: Tensor, mask: Tensor) -> Any:
        """Read sentences, ids (B, S) int64 with mask (B, S) bool; return the memory of them."""

    @abstractmethod
    def start(self, memory: Any) -> Any:
        """Return the state (B) before the first word, BOS, is consumed."""

    @abstractmethod
    def step(
        self, previous: Tensor, state: Any, memory: Any, *, owner: Tensor | None = None
    ) -> Step:
        """Consume one word and score the next.

        Args:
            previous: ids (N,) int64; BOS first.
            state: of these N hypotheses.
            memory: of B sentences.
            owner: (N,) int64, rising: which sentence each hypothesis translates; by default row i
                is of sentence i and N = B.
        """

    @abstractmethod
    def force(self, source: Tensor, mask: Tensor, target_in: Tensor) -> Forced:
        """Read a given translation: `target_in` (B, T) is BOS y1 y2 …"""

    def features(self, source: Tensor, mask: Tensor, target_in: Tensor) -> Tensor:
        """Return the features of `force` alone; a network may leave out its attention."""
        return self.force(source, mask, target_in).features

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """Map features (…, R) of `force` to unnormalised log-probabilities (…, V)."""

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
        real = target_out != PAD
        features = self.features(source, mask, target_in)[real]
        loss, nll = self.word_losses(features, target_out[real], label_smoothing=label_smoothing)
        return {"loss": loss, "nll": nll}

    def word_losses(
        self, features: Tensor, targets: Tensor, *, label_smoothing: float
    ) -> tuple[Tensor, Tensor]:
        """Return loss and nll of words (M,) from their features (M, R), summed."""
        logits = self.logits(features)
        return smoothed_cross_entropy(logits, targets, label_smoothing=label_smoothing)

    def posterior(
        self, source: Tensor, mask: Tensor, *, target_in: Tensor, target_out: Tensor
    ) -> list[Tensor]:
        """Read given translations, and say which source word each of their words came from.

        That is Bayes' rule with attention as the prior. A network that cannot say how likely a
        source word alone makes the target word leaves this as it is: the attention.

        Args:
            source: (B, S) int64.
            mask: (B, S) bool.
            target_in: (B, T) int64, BOS y1 …
            target_out: (B, T) int64, y1 … EOS; padding after it.

        Returns:
            For each sentence (t, s) float32 without padding; rows sum to one.
        """
        attention = self.force(source, mask, target_in).attention.float()
        sizes = zip((target_out != PAD).sum(dim=1).tolist(), mask.sum(dim=1).tolist(), strict=True)
        return [attention[b, :t, :s] for b, (t, s) in enumerate(sizes)]


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


class NmtNetwork(nn.Module):
    """A translator with its objective: what the training loop calls.

    Args:
        model: the network.
        label_smoothing: share of the target given to all tokens alike.
    """

    def __init__(self, model: TranslationModel, *, label_smoothing: float) -> None:
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


@torch.no_grad()
def feed(
    model: TranslationModel, source: Tensor, mask: Tensor, *, true: Tensor, keep: Tensor
) -> Tensor:
    """Choose what the decoder is fed, partly from its own words: teacher forcing (Question 14).

    With scheduled sampling (Bengio et al. 2015) a coin decides between the true last word and the
    decoder's own: the likeliest after what it was fed so far, without dropout, as when it
    translates. The choice passes no gradient on; the loss is then that of reading these words.

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


@torch.inference_mode()
def validation_sums(model: TranslationModel, batch: SentenceBatch, *, free: bool) -> float:
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
