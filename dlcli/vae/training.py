"""Training a VAE from settings to a result: a generator of events around the engine's loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping

import torch
from torch import nn

from dlcli.engine.config import load_yaml
from dlcli.engine.distributed import launched_world
from dlcli.engine.events import Evaluated, Event, Finished, Notice, Pictures, Saved
from dlcli.engine.finding import find_run
from dlcli.engine.resuming import recorded_result, refuse_other_network
from dlcli.engine.runs import RunFolder, open_unfinished
from dlcli.engine.seed import generator
from dlcli.engine.session import Place, Session, open_session
from dlcli.engine.weights import load_model
from dlcli.errors import CheckpointError, ConfigError, Interrupted
from dlcli.vae.config import VaeModelConfig, VaeTrainConfig, check
from dlcli.vae.evaluation import Evaluation, collapse_sentence, evaluate
from dlcli.vae.learner import VaeLearner, plan_epoch
from dlcli.vae.model import VAE, build_model, check_model
from dlcli.vae.objective import VaeNetwork
from dlcli.vae.result import TestResult, describe, read_result
from dlcli.vae.result import TrainResult as TrainResult
from dlcli.vae.snapshots import snapshot_epoch, take_snapshot
from dlcli.vae.splits import Splits, load_splits
from dlcli.vae.trained import KIND, load_weights_into

TEST_SEED = 0
"""Seed of the noise (and pixels) of every test evaluation: runs are compared on the same draws."""
TEST_NOISE_SAMPLES = 16
FLOW = "vae.flow."
"""What the names of a learned prior's weights begin with."""


def train(
    config: VaeTrainConfig, *, place: Place | None = None, init_from: str | None = None
) -> Generator[Event, None, TrainResult | None]:
    """Train a VAE.

    Yields:
        what happens: the engine's events, `Pictures` at the epochs of `config.snapshots`, and
        notices. Only the main process yields pictures.

    Returns:
        The result, with the test set read once; None on processes other than the main one.

    Args:
        config: all settings.
        place: where the run goes, or which one to go on with.
        init_from: a run (see `dlcli.engine.finding.find_run`) whose weights to start from.

    Raises:
        ConfigError: the settings contradict each other, or the data.
        DataError: the images cannot be had.
        Interrupted: a signal stopped it; what there was has been saved.
        RunFailed: the loss is no longer finite, or the run folder cannot be written.
    """
    check(config)
    check_model(config.model)
    place = place or Place()
    if place.resume is not None:
        resumed = open_unfinished(place.resume)
        config = _with_saved_data(config, resumed)
        if done := recorded_result(config, resumed, read=read_result):
            # The folder may have been moved.
            return dataclasses.replace(done, run=str(resumed.path))
    elif init_from is None:
        _require_statistics(config)
    if init_from is not None:  # a run that does not fit is refused before a folder is made
        network = VaeNetwork(build_model(config.model), objective=config.objective)
        start_from(network, init_from, model=config.model)
    notes: list[str] = []
    splits = load_splits(config.data, notice=notes.append)
    if place.resume is None:  # "auto" may mean something else where the run is gone on with
        config = _with_data(config, splits.name)
    plan_epoch(config, images=len(splits.train), processes=launched_world().size)
    with open_session(
        kind=KIND,
        title=f"vae-{config.model.arch}",
        config=config,
        compute=config.compute,
        place=place,
        bf16_pays=config.model.arch == "conv",
    ) as session:
        if session.world.is_main:
            yield from (Notice(message=note) for note in notes)
        learner = build(config, splits, device=session.compute.device, processes=session.world.size)
        _start_weights(config, session, learner.network, init_from=init_from)
        end = yield from _run(config, session, learner)
        return _conclude(config, session, learner, splits=splits, end=end)


def build(
    config: VaeTrainConfig, splits: Splits, *, device: torch.device, processes: int = 1
) -> VaeLearner:
    """Make the network, freshly initialised from torch's global seed, and its learner.

    Raises:
        ConfigError: shared batch statistics without CUDA, or see `VaeLearner`.
    """
    vae = build_model(config.model)
    if config.compute.sync_batch_norm and config.model.norm == "batch":
        if device.type != "cuda":
            raise ConfigError(
                f"--sync-batch-norm works between CUDA devices, and this run is on {device.type}.",
                hint="Leave it out: each process then keeps its own batch statistics.",
            )
        convert: Callable[[VAE], VAE] = nn.SyncBatchNorm.convert_sync_batchnorm
        vae = convert(vae)
    network = VaeNetwork(vae, objective=config.objective).to(device)
    return VaeLearner(
        network,
        train=splits.train,
        validation=splits.validation,
        config=config,
        device=device,
        processes=processes,
    )


def start_from(network: nn.Module, source: str, *, model: VaeModelConfig | None = None) -> None:
    """Load another run's weights, and nothing else of it.

    A flow that it lacks begins as the identity.

    Args:
        network: takes them.
        source: the run.
        model: what the network was built from, to say which settings were others there.

    Raises:
        UsageFault: there is no such run.
        ConfigError: it was trained with other settings of the network.
        CheckpointError: its weights are of another network all the same.
    """
    run = find_run(source, kind=KIND)
    saved = load_model(run, kind=KIND)
    given = saved.weights
    if not any(str(name).startswith(FLOW) for name in given):
        own = network.state_dict()
        given = {**{name: own[name] for name in own if name.startswith(FLOW)}, **given}
    try:
        load_weights_into(network, given, source=str(run.path))
    except CheckpointError:
        refuse_other_network(model, saved.config, run=run)
        raise


def _require_statistics(config: VaeTrainConfig) -> None:
    """Refuse to freeze the statistics of a network that has seen nothing.

    Raises:
        ConfigError: it says what to do.
    """
    if config.model.norm == "frozen":
        raise ConfigError(
            "--norm frozen keeps the statistics of weights that were trained, and there are none.",
            hint="Add --init-from RUN, or use --norm batch.",
        )


def _start_weights(
    config: VaeTrainConfig, session: Session, network: nn.Module, *, init_from: str | None
) -> None:
    """Take another run's weights, also where a run that was to is started over by `--resume`."""
    source = init_from or session.folder.record().get("init_from")
    if session.state is not None:
        return
    if not isinstance(source, str):  # a kill may come before the source is written down
        _require_statistics(config)
        return
    start_from(network, source, model=config.model)
    if session.world.is_main:
        session.folder.update_record(init_from=str(find_run(source, kind=KIND).path))


def _run(
    config: VaeTrainConfig, session: Session, learner: VaeLearner
) -> Generator[Event, None, Finished]:
    """Pass the loop's events on, with snapshots after their checkpoints and a warning at most."""
    warned = False
    events = session.events(
        learner,
        optim=config.optim,
        loop=config.loop,
        compute=config.compute,
        keep_epochs=config.snapshots,
    )
    for event in events:
        yield event
        if isinstance(event, Saved) and (epoch := snapshot_epoch(event.path)) is not None:
            yield _pictures(config, learner, epoch=epoch)
        elif isinstance(event, Evaluated) and not warned:
            dims, objective = config.model.latent_dim, config.objective.objective
            sentence = collapse_warning(event.metrics, dims=dims, objective=objective)
            warned = bool(sentence)
            if warned:
                yield Notice(message=sentence, level="warning")
        elif isinstance(event, Finished):
            return event
    raise RuntimeError("the training loop ended without saying so")


def collapse_warning(metrics: Mapping[str, object], *, dims: int, objective: str = "elbo") -> str:
    """Return a sentence where an evaluation's metrics show posterior collapse, else nothing.

    Args:
        metrics: with `active_units`, and `kl_per_dim` or, with a learned prior, `train_kl`.
        dims: latent dimensions.
        objective: `elbo` or `iwae`.
    """
    active, shares = metrics.get("active_units"), metrics.get("kl_per_dim")
    kl = sum(shares) if isinstance(shares, list) and shares else metrics.get("train_kl")
    if not isinstance(active, int) or not isinstance(kl, float):
        return ""
    return collapse_sentence(active=active, kl=kl, dims=dims, objective=objective)


def _pictures(config: VaeTrainConfig, learner: VaeLearner, *, epoch: int) -> Pictures:
    taken = take_snapshot(
        learner.vae,
        seed=config.compute.seed,
        epoch=epoch,
        likelihood=config.objective.likelihood,
    )
    caption = f"{taken.gallery.label} after {epoch} epochs, the same z each time"
    return Pictures(epoch=epoch, images=taken.gallery.images, caption=caption)


def _conclude(
    config: VaeTrainConfig, session: Session, learner: VaeLearner, *, splits: Splits, end: Finished
) -> TrainResult | None:
    """Read the test set and write the outcome down, on the main process."""
    if end.reason == "interrupted":
        session.finish(status="interrupted")
        raise Interrupted(
            f"Stopped at update {end.step:,}, in epoch {end.epoch + 1}, and saved.",
            hint=f"Go on with `dl vae train --resume {session.folder.path}`.",
        )
    if not session.world.is_main:
        return None
    if session.folder.checkpoint("best").is_file():
        best = load_model(session.folder, kind=KIND, checkpoint="best")
        load_weights_into(learner.network, best.weights, source=str(best.path))
    found = evaluate(
        learner.vae,
        splits.test,
        generator=generator(TEST_SEED, "test"),
        noise_samples=TEST_NOISE_SAMPLES,
        binarize=config.data.binarize,
        likelihood=config.objective.likelihood,
    )
    result = _result(config, session, learner, found=found, data=splits.name, end=end)
    status = "stopped" if end.reason == "max-minutes" else "done"
    fields = dataclasses.asdict(result)
    session.finish(status=status, result=fields, signature=result.signature, metrics=fields["test"])
    return result


def _result(
    config: VaeTrainConfig,
    session: Session,
    learner: VaeLearner,
    *,
    found: Evaluation,
    data: str,
    end: Finished,
) -> TrainResult:
    updates = -(-learner.steps_per_epoch() // config.optim.accumulate)
    images = end.step / updates * learner.images
    return TrainResult(
        run=str(session.folder.path),
        data=data,
        arch=config.model.arch,
        epochs=end.epoch,
        images_per_s=images / end.train_s if end.train_s else 0.0,
        train_s=end.train_s,
        test=TestResult(
            elbo=found.elbo,
            reconstruction=found.reconstruction,
            kl=found.kl,
            std_error=found.std_error,
            iwae=found.iwae,
            images=found.images,
        ),
        active_units=found.latents.active_units,
        kl_per_dim=found.latents.kl_per_dim,
        latent_dim=config.model.latent_dim,
        reason=end.reason,
        signature=describe(
            config,
            data=data,
            split="test",
            images=found.images,
            estimator="elbo",
            samples=found.noise_samples,
            train_images=learner.images,
            epochs=end.epoch,
            precision=session.compute.precision,
            init=session.folder.origin,
        ),
    )


def _with_data(config: VaeTrainConfig, name: str) -> VaeTrainConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, name=name))


def _with_saved_data(config: VaeTrainConfig, run: RunFolder) -> VaeTrainConfig:
    """Let "auto" mean the data set that the run was started on."""
    saved = load_yaml(run.config_file).get("data")
    name = saved.get("name") if isinstance(saved, dict) else None
    if config.data.name != "auto" or not isinstance(name, str):
        return config
    return _with_data(config, name)
