"""Training a translator from settings to a result: events around the engine's one loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

import torch
from torch import nn

from dlcli.engine.events import Event, Finished, Notice
from dlcli.engine.finding import find_run
from dlcli.engine.resuming import recorded_result, refuse_other_network
from dlcli.engine.runs import RunFolder, open_unfinished
from dlcli.engine.session import Place, Session, open_session
from dlcli.engine.weights import load_model
from dlcli.errors import CheckpointError, Interrupted
from dlcli.nmt.choice import CRITERIA, choose, epochs_to_average
from dlcli.nmt.config import NmtModelConfig, NmtTrainConfig, check
from dlcli.nmt.forcing import NmtNetwork
from dlcli.nmt.learner import NmtLearner
from dlcli.nmt.memory import explain_memory
from dlcli.nmt.model import build_model
from dlcli.nmt.native import native
from dlcli.nmt.result import NmtResult as NmtResult
from dlcli.nmt.result import describe, read_result
from dlcli.nmt.splits import NmtData, load_data, with_saved_data
from dlcli.nmt.trained import KIND, load_weights_into
from dlcli.nmt.validation import Validation, ValidResult


def train(
    config: NmtTrainConfig, *, place: Place | None = None, init_from: str | None = None
) -> Generator[Event, None, NmtResult | None]:
    """Train a translator.

    Yields:
        what happens: the engine's events and notices.

    Returns:
        The result, measured on the validation pairs; None on processes other than the main one.

    Args:
        config: all settings.
        place: where the run goes, or which one to go on with.
        init_from: a run (see `dlcli.engine.finding.find_run`) whose weights and vocabulary to start
            from.

    Raises:
        ConfigError: the settings contradict each other, or the data.
        DataError: the sentences cannot be had.
        Interrupted: a signal stopped it; what there was has been saved.
        RunFailed: the loss is no longer finite, memory is exhausted, or the run folder cannot be
            written.
    """
    check(config)
    place = place or Place()
    resumed = open_unfinished(place.resume) if place.resume is not None else None
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
        place=place,
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
