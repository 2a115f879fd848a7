"""Teacher forcing: which words the decoder is fed while it learns (Question 14).

With ratio 1 it is fed the true last word, with 0 its own, and between them a coin decides for each
token or for each sentence (scheduled sampling, Bengio et al. 2015, where the ratio falls linearly).
Its own word is the likeliest under what it was fed so far, without dropout, as when it translates.

The choice of words passes no gradient on. So it is made first, and the loss is then that of reading
the chosen words, for which the fast path serves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlcli.nmt.batching import SentenceBatch
from dlcli.nmt.config import NmtObjectiveConfig
from dlcli.nmt.model import Translation


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
