"""Training a translator: what is special about it; the common story is in `dlcli.engine.trainer`.

`NmtTask` says how a translator is built, started and measured. `NmtLearner` gives the training loop
batches of sentences and an evaluation. Everything random is drawn for the global batch from
generators named by (seed, epoch, batch), and each process takes its rows: where a run was stopped
changes nothing, and how many processes there are changes only what dropout draws. The result is the
best checkpoint, the last, or an average of the weights of the last epochs, which often generalises
better than any of them; whether it does is decided on the validation pairs.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dlcli.data.languages import languages_of
from dlcli.engine import trainer
from dlcli.engine.checkpoint import (
    AVERAGE,
    load_checkpoint,
    load_checkpoint_into,
    load_model,
    save_checkpoint,
    snapshot_epochs,
    snapshot_name,
)
from dlcli.engine.events import Event, Finished, Notice, NoticeCallback, RunStarted
from dlcli.engine.loop import Criterion
from dlcli.engine.runs import RunFolder
from dlcli.engine.seed import generator
from dlcli.engine.session import RunLocation, Session
from dlcli.engine.step import Batch, rows_of_process
from dlcli.engine.trainer import Task, items_per_s
from dlcli.errors import plural
from dlcli.nmt.batching import (
    Bitext,
    NmtData,
    SentenceBatch,
    batch_order,
    cut,
    epoch_order,
    load_data,
    with_saved_data,
)
from dlcli.nmt.config import NmtLoopConfig, NmtTrainConfig, check
from dlcli.nmt.fast.kernels import native
from dlcli.nmt.model import NmtNetwork, draw_true, ratio_at
from dlcli.nmt.scoring import missing_tokenizer
from dlcli.nmt.tokenizer import PAD
from dlcli.nmt.trained import KIND, NmtResult, ValidResult, build_network, describe, read_result
from dlcli.nmt.validation import Validation

CRITERIA = {
    "bleu": Criterion(metric="valid_bleu", higher_is_better=True),
    "loss": Criterion(metric="valid_loss"),
}
FEW_UPDATES = 100
"""A training of fewer updates hardly learns to translate, whatever it is trained on."""


def train(
    config: NmtTrainConfig, *, location: RunLocation | None = None, init_from: str | None = None
) -> Generator[Event, None, NmtResult | None]:
    """Train a translator; see `dlcli.engine.trainer.train`.

    With `init_from` the vocabulary is that run's too.

    Returns:
        The result, measured on the validation pairs; None on processes other than the main one.
    """
    return trainer.train(TASK, config, location=location, init_from=init_from)


class NmtTask(Task[NmtTrainConfig, NmtData, "NmtLearner", NmtResult]):
    """How a translator is trained."""

    kind = KIND
    weights_hint = "Use the --arch, sizes, --attention and --vocabulary that it was trained with."

    def title(self, config: NmtTrainConfig) -> str:
        """Return `nmt-en-fr`, or what the direction is."""
        return f"nmt-{config.data.direction}"

    def check(self, config: NmtTrainConfig, *, untrained: bool) -> None:  # noqa: ARG002
        """Hold settings against one another."""
        check(config)

    def resumed_config(self, config: NmtTrainConfig, run: RunFolder) -> NmtTrainConfig:
        """Let `auto`, or a file, mean the corpus that the run was started on."""
        return with_saved_data(config, run)

    def load_data(
        self,
        config: NmtTrainConfig,
        *,
        resumed: RunFolder | None,
        origin: RunFolder | None,
        notice: NoticeCallback,
    ) -> NmtData:
        """Load sentences, and learn or load their vocabulary."""
        return load_data(config.data, resumed=resumed, origin=origin, notice=notice)

    def build_network(self, config: NmtTrainConfig, data: NmtData) -> nn.Module:
        """Build encoder, decoder and embeddings."""
        return build_network(config, vocabulary=data.tokenizer.size)

    def build_learner(
        self,
        config: NmtTrainConfig,
        data: NmtData,
        *,
        device: torch.device,
        processes: int = 1,  # noqa: ARG002
    ) -> NmtLearner:
        """Build the network and put the encoded pairs beside it."""
        network = build_network(config, vocabulary=data.tokenizer.size).to(device)
        validation = None
        if len(data.valid):
            validation = Validation(
                data.valid,
                tokenizer=data.tokenizer,
                device=device,
                longest=config.data.max_length,
                lowercase=config.data.lowercase,
                language=languages_of(config.data.direction)[1],
            )
        return NmtLearner(network, train=data.bitext(device), validation=validation, config=config)

    def record_start(self, session: Session, data: NmtData) -> None:
        """Save the vocabulary, and which kernels decide the last bits of a result."""
        data.tokenizer.save(session.folder.path)
        like = torch.empty(0, device=session.compute.device)
        kernels = native(like, low=like.dtype)
        session.folder.update_record(kernels=kernels.form if kernels else "plain")

    def criterion(self, config: NmtTrainConfig) -> Criterion:
        """Choose the best checkpoint by BLEU or loss on the validation pairs."""
        return CRITERIA[config.loop.select_by]

    def keep_epochs(self, config: NmtTrainConfig) -> tuple[int, ...]:
        """Return the epochs whose weights are averaged."""
        return epochs_to_average(config.loop)

    def watch(
        self,
        config: NmtTrainConfig,
        learner: NmtLearner,
        events: Iterable[Event],
    ) -> Iterator[Event]:
        """Say at the start what BLEU lacks, and where there are too few updates to learn from."""
        language = languages_of(config.data.direction)[1]
        for event in events:
            yield event
            if isinstance(event, RunStarted):
                if learner.validation and (missing := missing_tokenizer(language)):
                    yield Notice(message=missing)
                updates = event.steps_per_epoch * event.epochs
                if 0 < updates < FEW_UPDATES:
                    yield Notice(message=few_updates(updates), level="warning")

    def read_result(self, fields: Mapping[str, Any]) -> NmtResult:
        """Rebuild a result from run.json."""
        return read_result(fields)

    def result(
        self,
        session: Session,
        learner: NmtLearner,
        *,
        data: NmtData,
        end: Finished,
    ) -> NmtResult:
        """Choose the checkpoint that is the result; its measurement stands in the result."""
        config, folder = learner.config, session.folder
        name, valid = choose(config.loop, folder, learner)
        tokenize = learner.validation.metric.tokenize if learner.validation else "13a"
        return NmtResult(
            run=str(folder.path),
            data=data.name,
            direction=config.data.direction,
            vocabulary=data.tokenizer.size,
            parameters=sum(parameter.numel() for parameter in learner.network.parameters()),
            epochs=end.epoch,
            updates=end.step,
            tokens_per_s=items_per_s(session, learner, items=learner.tokens, end=end),
            train_s=end.train_s,
            checkpoint=name,
            valid=valid,
            reason=end.reason,
            signature=describe(
                config,
                data=data.name,
                split="valid",
                sentences=len(data.valid),
                search="greedy",
                tok=tokenize if tokenize != "13a" else None,
                checkpoint=name,
                train_pairs=len(data),
                updates=end.step,
                vocabulary=data.tokenizer.size,
                precision=session.precision,
                init=folder.origin,
            ),
        )


TASK = NmtTask()


def few_updates(updates: int) -> str:
    """Say that a training has few updates, and what gives it more."""
    return (
        f"The whole training is {plural(updates, 'update')}, which is little to "
        "learn from: use a smaller --batch-size, as in `--batch-unit sentences --batch-size 16`, "
        "and more --epochs."
    )


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
        begin, end = rows_of_process(count, rank=rank, world=world)
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
    return replace(batch, target_out=torch.full_like(batch.target_out, PAD), tokens=0)


def epochs_to_average(loop: NmtLoopConfig) -> tuple[int, ...]:
    """Return the epochs whose checkpoints are kept to be averaged."""
    return tuple(range(max(1, loop.epochs - loop.average + 1), loop.epochs + 1))


def choose(
    loop: NmtLoopConfig, folder: RunFolder, learner: NmtLearner
) -> tuple[str, ValidResult | None]:
    """Choose a finished training's result and leave its weights in the network.

    Without validation pairs it is the average, where one was asked for, else the last. The
    checkpoints that were kept for the average are removed.

    Returns:
        The checkpoint's name, and what it reaches on the validation pairs.
    """
    best = "best" if folder.checkpoint("best").is_file() else "last"
    valid = _measure(learner, folder, name=best)
    folder.checkpoint(AVERAGE).unlink(missing_ok=True)  # of a shorter training that went on
    if not loop.average or not _average(folder, loop):
        return best, valid
    averaged = _measure(learner, folder, name=AVERAGE)
    criterion = CRITERIA[loop.select_by]
    chosen = AVERAGE
    if valid is not None and averaged is not None:
        value, other = (float(found.metrics()[criterion.metric]) for found in (averaged, valid))
        chosen = AVERAGE if criterion.improves(value, best=other) else best
    if chosen == best:
        folder.checkpoint(AVERAGE).unlink()
        load_checkpoint_into(learner.network, folder, kind=KIND, checkpoint=best)
    for epoch in snapshot_epochs(folder):
        folder.checkpoint(snapshot_name(epoch)).unlink()
    return (AVERAGE, averaged) if chosen == AVERAGE else (best, valid)


def _average(folder: RunFolder, loop: NmtLoopConfig) -> bool:
    """Write the mean of the weights of the newest epochs kept; say whether there were several."""
    epochs = snapshot_epochs(folder)[-loop.average :]
    if len(epochs) < 2:
        return False
    state = load_checkpoint(folder.checkpoint(snapshot_name(epochs[-1])), kind=KIND)
    sums = {name: tensor.double() for name, tensor in state["model"].items()}
    for epoch in epochs[:-1]:
        weights = load_model(folder, kind=KIND, checkpoint=snapshot_name(epoch)).weights
        sums = {name: total + weights[name].double() for name, total in sums.items()}
    mean = {
        name: (total / len(epochs)).to(state["model"][name].dtype) for name, total in sums.items()
    }
    content = {"config": state["config"], "model": mean, "epochs": epochs}
    save_checkpoint(folder.checkpoint(AVERAGE), content, kind=KIND)
    return True


def _measure(learner: NmtLearner, folder: RunFolder, *, name: str) -> ValidResult | None:
    load_checkpoint_into(learner.network, folder, kind=KIND, checkpoint=name)
    return None if learner.validation is None else learner.validation.measure(learner.model)
