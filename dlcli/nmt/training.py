"""Training a translator from settings to a result: events around the engine's one loop."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dlcli.engine.checkpoint import (
    AVERAGE,
    load_checkpoint,
    load_model,
    save_checkpoint,
    snapshot_epochs,
    snapshot_name,
)
from dlcli.engine.events import Event, Finished, Notice
from dlcli.engine.loop import Batch, Criterion
from dlcli.engine.runs import RunFolder, find_run, open_unfinished
from dlcli.engine.seed import generator
from dlcli.engine.session import (
    RunLocation,
    Session,
    open_session,
    recorded_result,
    refuse_other_network,
)
from dlcli.errors import CheckpointError, Interrupted, RunFailed
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
from dlcli.nmt.config import NmtLoopConfig, NmtModelConfig, NmtTrainConfig, check
from dlcli.nmt.fast.kernels import native
from dlcli.nmt.model import NmtNetwork, build_model, draw_true, ratio_at
from dlcli.nmt.tokenizer import PAD
from dlcli.nmt.trained import KIND, load_weights_into
from dlcli.nmt.validation import NmtResult, Validation, ValidResult, describe, read_result

# -- What the training loop sees of a translator: batches of sentences, and an evaluation
# Everything random is drawn for the global batch from generators named by (seed, epoch, batch), and
# each process takes its rows: where a run was stopped changes nothing, and how many processes there
# are changes only what dropout draws.


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


# -- What to do when memory runs out: find out which batch would fit, and say so

SAID = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
"""How torch and its allocators say that memory has run out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory has run out."""
    said = str(error).lower()
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in said for words in SAID))


@contextlib.contextmanager
def explain_memory(learner: NmtLearner) -> Iterator[None]:
    """Turn an exhausted memory into a sentence that says which --batch-size would fit.

    Raises:
        RunFailed: memory ran out.
    """
    failed = False
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    if failed:  # outside of the handler, whose traceback holds the tensors that filled the memory
        loop = learner.config.loop
        fits = fitting_batch_size(learner)
        raise RunFailed(
            f"A batch of {loop.batch_size} {loop.batch_unit} does not fit into the memory of "
            f"{learner.train.device}.",
            hint=f"--batch-size {fits} was tried and fits; add --set "
            f"optim.accumulate={-(-loop.batch_size // fits)} for the same updates."
            if fits
            else "Not even one sentence fits: lower --max-length or the sizes of the network.",
        )


def fitting_batch_size(learner: NmtLearner) -> int | None:
    """Return the largest of half, a quarter … of the batch size that can be trained on."""
    loop = learner.config.loop
    longer = np.sort(learner.train.longer)
    order = np.argsort(learner.train.longer, kind="stable")
    size = loop.batch_size // 2
    while size:
        plan = cut(longer, size=size, unit=loop.batch_unit)
        first, last = max(plan, key=lambda span: (span[1] - span[0]) * int(longer[span[1] - 1]))
        if _can_train(learner, order[first:last]):
            return size
        if last - first == 1:
            return None
        size //= 2
    return None


def _can_train(learner: NmtLearner, chosen: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bool:
    network = learner.network.train()
    try:
        for parameter in network.parameters():
            parameter.grad = None
        found = network(learner.train.batch(chosen))
        found["loss"].backward()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        for parameter in network.parameters():
            parameter.grad = None
    return True


# -- Which weights are a training's result: the best, the last, or an average of the last few
# Averaging the weights of the last epochs often generalises better than any of them; whether it
# does is decided on the validation pairs.

CRITERIA = {
    "bleu": Criterion(metric="valid_bleu", higher_is_better=True),
    "loss": Criterion(metric="valid_loss"),
}


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
        _load(learner, folder, name=best)
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
    _load(learner, folder, name=name)
    return None if learner.validation is None else learner.validation.measure(learner.model)


def _load(learner: NmtLearner, folder: RunFolder, *, name: str) -> None:
    saved = load_model(folder, kind=KIND, checkpoint=name)
    load_weights_into(learner.network, saved.weights, source=str(saved.path))


def train(
    config: NmtTrainConfig, *, location: RunLocation | None = None, init_from: str | None = None
) -> Generator[Event, None, NmtResult | None]:
    """Train a translator.

    Yields:
        what happens: the engine's events and notices.

    Returns:
        The result, measured on the validation pairs; None on processes other than the main one.

    Args:
        config: all settings.
        location: where the run goes, or which one to go on with.
        init_from: a run (see `dlcli.engine.runs.find_run`) whose weights and vocabulary to start
            from.

    Raises:
        ConfigError: the settings contradict each other, or the data.
        DataError: the sentences cannot be had.
        Interrupted: a signal stopped it; what there was has been saved.
        RunFailed: the loss is no longer finite, memory is exhausted, or the run folder cannot be
            written.
    """
    check(config)
    location = location or RunLocation()
    resumed = open_unfinished(location.resume) if location.resume is not None else None
    if resumed is not None:
        config = with_saved_data(config, resumed)
        if done := recorded_result(config, resumed, read=read_result):
            # The folder may have been moved.
            return dataclasses.replace(done, run=str(resumed.path))
    origin = _origin(init_from, resumed)
    notes: list[str] = []
    data = load_data(config.data, resumed=resumed, origin=origin, notice=notes.append)
    if resumed is None:  # "auto" may mean something else where the run is gone on with
        config = _with_data(config, data.name)
    if origin is not None:  # a run that does not fit is refused before a folder is made
        _start_from(_network(config, data), origin, model=config.model)
    with open_session(
        kind=KIND,
        title=f"nmt-{config.data.direction}",
        config=config,
        compute=config.compute,
        location=location,
        bf16_pays=True,
    ) as session:
        if session.world.is_main:
            data.tokenizer.save(session.folder.path)
            session.folder.update_record(kernels=_kernels(session.compute.device))
            if origin is not None:
                session.folder.update_record(init_from=str(origin.path))
            yield from (Notice(message=note) for note in notes)
        learner = build(config, data, device=session.compute.device)
        if origin is not None and session.state is None:
            _start_from(learner.network, origin, model=config.model)
        end = yield from _run(config, session, learner)
        return _conclude(config, session, learner, data=data, end=end)


def _kernels(device: torch.device) -> str:
    """Say what computes between products here: it decides the last bits of a result."""
    like = torch.empty(0, device=device)
    return "plain" if native(like, low=like.dtype) is None else "compiled"


def build(config: NmtTrainConfig, data: NmtData, *, device: torch.device) -> NmtLearner:
    """Make the network, freshly initialised from torch's global seed, and its learner."""
    network = _network(config, data).to(device)
    validation = None
    if len(data.valid):
        validation = Validation(
            data.valid,
            tokenizer=data.tokenizer,
            device=device,
            lowercase=config.data.lowercase,
        )
    return NmtLearner(network, train=data.bitext(device), validation=validation, config=config)


def _network(config: NmtTrainConfig, data: NmtData) -> NmtNetwork:
    return NmtNetwork(
        build_model(config.model, vocabulary=data.tokenizer.size),
        label_smoothing=config.objective.label_smoothing,
    )


def _origin(init_from: str | None, resumed: RunFolder | None) -> RunFolder | None:
    """Find the run to start from, also where a run that was to is started over by `--resume`."""
    said = init_from
    if said is None and resumed is not None and not resumed.checkpoint().is_file():
        recorded = resumed.record().get("init_from")
        said = recorded if isinstance(recorded, str) else None
    return None if said is None else find_run(said, kind=KIND)


def _start_from(network: nn.Module, origin: RunFolder, *, model: NmtModelConfig) -> None:
    """Load another run's weights, and nothing else of it.

    Raises:
        ConfigError: it was trained with other settings of the network.
        CheckpointError: its weights are of another network all the same.
    """
    saved = load_model(origin, kind=KIND)
    try:
        load_weights_into(network, saved.weights, source=str(origin.path))
    except CheckpointError:
        refuse_other_network(model, saved.config, run=origin)
        raise


def _run(
    config: NmtTrainConfig, session: Session, learner: NmtLearner
) -> Generator[Event, None, Finished]:
    events = session.events(
        learner,
        optim=config.optim,
        loop=config.loop,
        compute=config.compute,
        criterion=CRITERIA[config.loop.select_by],
        keep_epochs=epochs_to_average(config.loop),
    )
    with explain_memory(learner):
        for event in events:
            yield event
            if isinstance(event, Finished):
                return event
    raise RuntimeError("the training loop ended without saying so")


def _conclude(
    config: NmtTrainConfig, session: Session, learner: NmtLearner, *, data: NmtData, end: Finished
) -> NmtResult | None:
    """Choose the checkpoint that is the result, and write the outcome down, on the main process."""
    if end.reason == "interrupted":
        session.finish(status="interrupted")
        raise Interrupted(
            f"Stopped at update {end.step:,}, in epoch {end.epoch + 1}, and saved.",
            hint=f"Go on with `dl nmt train --resume {session.folder.path}`.",
        )
    if not session.world.is_main:
        return None
    name, valid = choose(config.loop, session.folder, learner)
    result = _result(config, session, learner, data=data, end=end, name=name, valid=valid)
    status = "stopped" if end.reason == "max-minutes" else "done"
    metrics = {} if valid is None else {k: v for k, v in valid.fields().items() if k != "sentences"}
    fields = dataclasses.asdict(result)
    session.finish(status=status, result=fields, signature=result.signature, metrics=metrics)
    return result


def _result(
    config: NmtTrainConfig,
    session: Session,
    learner: NmtLearner,
    *,
    data: NmtData,
    end: Finished,
    name: str,
    valid: ValidResult | None,
) -> NmtResult:
    updates = -(-learner.steps_per_epoch() // config.optim.accumulate)
    tokens = end.step / updates * learner.tokens
    return NmtResult(
        run=str(session.folder.path),
        data=data.name,
        direction=config.data.direction,
        vocabulary=data.tokenizer.size,
        parameters=sum(parameter.numel() for parameter in learner.network.parameters()),
        epochs=end.epoch,
        updates=end.step,
        tokens_per_s=tokens / end.train_s if end.train_s else 0.0,
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
            checkpoint=name,
            train_pairs=len(data),
            updates=end.step,
            vocabulary=data.tokenizer.size,
            precision=session.compute.precision,
            init=session.folder.origin,
        ),
    )


def _with_data(config: NmtTrainConfig, name: str) -> NmtTrainConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, name=name))
