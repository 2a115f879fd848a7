"""What the training loop sees of a translator: batches of sentences, and an evaluation.

Everything random is drawn for the global batch from generators named by (seed, epoch, batch), and
each process takes its rows: where a run was stopped changes nothing, and how many processes there
are changes only what dropout draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dlcli.engine.learner import Batch
from dlcli.engine.seed import generator
from dlcli.nmt.batching import Bitext, SentenceBatch, batch_order, cut, epoch_order
from dlcli.nmt.config import NmtTrainConfig
from dlcli.nmt.forcing import NmtNetwork, draw_true, ratio_at
from dlcli.nmt.tokenizer import PAD
from dlcli.nmt.validation import Validation


class NmtLearner:
    """A translator, its pairs and its evaluation, for `dlcli.engine.loop.Training`.

    Args:
        network: on its device.
        train: encoded pairs on the same device.
        validation: what is measured after each epoch, or None.
        config: all settings.
    """

    unit = "tokens"

    def __init__(
        self,
        network: NmtNetwork,
        *,
        train: Bitext,
        validation: Validation | None,
        config: NmtTrainConfig,
    ) -> None:
        self.network: nn.Module = network
        self.model = network.model
        self.train, self.validation, self.config = train, validation, config
        loop = config.loop
        self.plan = cut(np.sort(train.longer), size=loop.batch_size, unit=loop.batch_unit)

    @property
    def tokens(self) -> int:
        """Target tokens in an epoch, each sentence's EOS included."""
        return int(self.train.target_lengths.sum())

    def steps_per_epoch(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.plan)

    def batches(self, *, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield this process's part of each global batch of an epoch (from 0), from `start` on."""
        seed = self.config.compute.seed
        order = epoch_order(
            self.train.longer, other=self.train.source_lengths, seed=seed, epoch=epoch
        )
        numbers = batch_order(len(self.plan), seed=seed, epoch=epoch)
        for index in range(start, len(self.plan)):
            first, last = self.plan[numbers[index]]
            yield self._batch(order[first:last], index=index, epoch=epoch, rank=rank, world=world)

    def evaluate(self, *, epoch: int) -> Mapping[str, object]:
        """Measure on the validation pairs; see `Validation`."""
        del epoch
        return {} if self.validation is None else self.validation.measure(self.model).metrics()

    def _batch(
        self, chosen: NDArray[np.int64], *, index: int, epoch: int, rank: int, world: int
    ) -> Batch:
        count = len(chosen)
        begin, end = count * rank // world, count * (rank + 1) // world
        idle = begin == end  # fewer sentences than processes: one of them, counting for nothing
        mine = self.train.batch(chosen[:1] if idle else chosen[begin:end])
        if idle:
            mine = _weightless(mine)
        keep = None
        progress = (epoch + index / len(self.plan)) / max(1, self.config.loop.epochs)
        if (ratio := ratio_at(self.config.objective, progress=progress)) < 1:
            lengths = self.train.target_lengths[chosen]
            drawn = draw_true(
                count,
                length=int(lengths.max()),
                ratio=ratio,
                unit=self.config.objective.teacher_forcing_unit,
                generator=generator(self.config.compute.seed, "forcing", epoch, index),
            )
            rows = drawn[:1] if idle else drawn[begin:end]
            keep = rows[:, : mine.target_in.size(1)].to(self.train.device)
        return Batch(
            payload=(mine, keep),
            items=mine.tokens,
            weight=float(self.train.target_lengths[chosen].sum()),
        )


def _weightless(batch: SentenceBatch) -> SentenceBatch:
    return SentenceBatch(
        source=batch.source,
        mask=batch.mask,
        target_in=batch.target_in,
        target_out=torch.full_like(batch.target_out, PAD),
        tokens=0,
    )
