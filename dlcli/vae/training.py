"""Training a VAE from settings to a result: a generator of events around the engine's loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator, Mapping

import torch
from torch import Tensor, nn

from dlcli.engine.checkpoint import load_model
from dlcli.engine.config import load_yaml
from dlcli.engine.distributed import launched_world
from dlcli.engine.events import Evaluated, Event, Finished, Notice, Pictures, Saved
from dlcli.engine.loop import Batch
from dlcli.engine.runs import RunFolder, find_run, open_unfinished
from dlcli.engine.seed import generator
from dlcli.engine.session import (
    RunLocation,
    Session,
    open_session,
    recorded_result,
    refuse_other_network,
)
from dlcli.errors import CheckpointError, ConfigError, Interrupted
from dlcli.vae.config import VaeModelConfig, VaeTrainConfig, check
from dlcli.vae.evaluation import Evaluation, LatentUse, collapse_sentence, evaluate, latent_use
from dlcli.vae.images import Splits, binarize, flat, grey, load_splits, threshold_draws
from dlcli.vae.networks import VAE, build_model, check_model
from dlcli.vae.objective import ChoosingNoise, VaeNetwork, beta_at
from dlcli.vae.pictures import snapshot_epoch, take_snapshot
from dlcli.vae.trained import (
    KIND,
    TestResult,
    TrainResult,
    describe,
    load_weights_into,
    read_result,
)

# -- What the training loop sees of a VAE: batches of pixels and noise, and an evaluation
# Everything random is drawn for the global batch from generators named by (seed, epoch, batch), and
# each process takes its rows: how many processes there are, and where a run was stopped, changes
# nothing. The images live on the device as one uint8 tensor (MNIST: 47 MB); a batch is one gather.

WATCHED_IMAGES = 1000
"""Training images whose latents are watched where there is no validation data."""

Bounds = list[tuple[int, int]]


def plan_batches(images: int, *, batch_size: int, least: int = 1) -> Bounds:
    """Cut an epoch of `images` into batches: (start, stop) positions in the epoch's order.

    The last batch is short; where it has fewer than `least` images it joins the one before.
    """
    starts = list(range(0, images, batch_size))
    if len(starts) > 1 and images - starts[-1] < least:
        starts.pop()
    return list(zip(starts, [*starts[1:], images], strict=True))


def plan_epoch(config: VaeTrainConfig, *, images: int, processes: int = 1) -> Bounds:
    """Cut an epoch into batches that batch normalisation, where it is on, can live with.

    Raises:
        ConfigError: there are no images, or too few in a batch.
    """
    if images < 1:
        raise ConfigError(
            "There are no images to train on.",
            hint="Lower --validation, or choose a larger --train-images.",
        )
    # Statistics of a lone image are its own contrast, which they would normalise away.
    least = 2 * processes if config.model.arch == "conv" and config.model.norm == "batch" else 1
    plan = plan_batches(images, batch_size=config.loop.batch_size, least=least)
    smallest = min(last - first for first, last in plan)
    if smallest < least:
        raise ConfigError(
            f"Batch normalisation needs at least 2 images a batch in each process, and {processes} "
            f"would share a batch of {smallest}.",
            hint="Raise --batch-size or --train-images, or use --norm none.",
        )
    return plan


def share(count: int, *, rank: int, world: int) -> tuple[int, int]:
    """Return the rows (start, stop) of a global batch that belong to one process."""
    return count * rank // world, count * (rank + 1) // world


class VaeLearner:
    """A VAE, its images and its evaluation, for `dlcli.engine.loop.Training`.

    Args:
        network: on `device`.
        train: (N, 28, 28) uint8; for `fixed`, already drawn.
        validation: (M, 28, 28) uint8, M may be 0.
        config: all settings.
        device: where to put the training images.
        processes: how many share each batch.

    Raises:
        ConfigError: see `plan_epoch`.
    """

    unit = "images"

    def __init__(
        self,
        network: VaeNetwork,
        *,
        train: Tensor,
        validation: Tensor,
        config: VaeTrainConfig,
        device: torch.device,
        processes: int = 1,
    ) -> None:
        self.network: nn.Module = network
        self.vae = network.vae
        self.config, self.device = config, device
        self.rows = flat(train).to(device)
        self.validation = validation
        self.plan = plan_epoch(config, images=len(self.rows), processes=processes)

    @property
    def images(self) -> int:
        """Images in an epoch."""
        return len(self.rows)

    def steps_per_epoch(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.plan)

    def batches(self, *, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield this process's part of each global batch of an epoch (from 0), from `start` on."""
        seed = self.config.compute.seed
        order = torch.randperm(len(self.rows), generator=generator(seed, "order", epoch))
        order = order.to(self.device)
        for index in range(start, len(self.plan)):
            first, last = self.plan[index]
            begin, end = share(last - first, rank=rank, world=world)
            rows = self.rows.index_select(0, order[first + begin : first + end])
            stream = generator(seed, "batch", epoch, index, device=self.device)
            eps = self._noise(last - first, stream)[..., begin:end, :]
            progress = epoch + (index + 1) / len(self.plan)
            pixels = self._pixels(rows, slice(begin, end), last - first, stream)
            beta = torch.tensor(beta_at(self.config.objective, epoch=progress))
            offsets = self._offsets(last - first, stream)
            noise = eps if offsets is None else ChoosingNoise(eps, offsets[begin:end])
            yield Batch(
                payload=(pixels, noise, beta),
                items=end - begin,
                weight=float(last - first),
            )

    def evaluate(self, *, epoch: int) -> Mapping[str, object]:
        """Measure on the validation images, or watch the latents of some training images.

        The noise is the same at every epoch, so that differences are the model's.
        """
        del epoch
        objective, way = self.config.objective, self.config.data.binarize
        stream = generator(self.config.compute.seed, "validation", device=self.device)
        if not len(self.validation):
            watched = self.rows[:WATCHED_IMAGES]
            return _latent_metrics(latent_use(self.vae, watched, generator=stream, binarize=way))
        found = evaluate(
            self.vae,
            self.validation,
            generator=stream,
            noise_samples=objective.k,
            binarize=way,
            likelihood=objective.likelihood,
        )
        bound = found.iwae if objective.objective == "iwae" else found.elbo
        return {
            "valid_loss": -bound,
            "valid_elbo": found.elbo,
            "valid_reconstruction": found.reconstruction,
            "valid_kl": found.kl,
            **_latent_metrics(found.latents),
        }

    def _noise(self, count: int, stream: torch.Generator) -> Tensor:
        """Draw eps of a global batch: (count, D), or (K, count, D) for `iwae`."""
        shape: tuple[int, ...] = (count, self.vae.latent_dim)
        if self.config.objective.objective == "iwae":
            shape = (self.config.objective.k, *shape)
        return torch.randn(shape, generator=stream, device=self.device)

    def _offsets(self, count: int, stream: torch.Generator) -> Tensor | None:
        """Draw what `objective.resample` needs for a global batch, where samples are chosen."""
        if not self.config.objective.backward_samples:
            return None
        return torch.rand(count, generator=stream, device=self.device)

    def _pixels(self, rows: Tensor, mine: slice, count: int, stream: torch.Generator) -> Tensor:
        if self.config.data.binarize != "dynamic":
            return grey(rows)
        return binarize(rows, draws=threshold_draws(count, generator=stream)[mine])


def _latent_metrics(found: LatentUse) -> dict[str, object]:
    return {"kl_per_dim": list(found.kl_per_dim), "active_units": found.active_units}


TEST_SEED = 0
"""Seed of the noise (and pixels) of every test evaluation: runs are compared on the same draws."""
TEST_NOISE_SAMPLES = 16
FLOW = "vae.flow."
"""What the names of a learned prior's weights begin with."""


def train(
    config: VaeTrainConfig, *, location: RunLocation | None = None, init_from: str | None = None
) -> Generator[Event, None, TrainResult | None]:
    """Train a VAE.

    Yields:
        what happens: the engine's events, `Pictures` at the epochs of `config.snapshots`, and
        notices. Only the main process yields pictures.

    Returns:
        The result, with the test set read once; None on processes other than the main one.

    Args:
        config: all settings.
        location: where the run goes, or which one to go on with.
        init_from: a run (see `dlcli.engine.runs.find_run`) whose weights to start from.

    Raises:
        ConfigError: the settings contradict each other, or the data.
        DataError: the images cannot be had.
        Interrupted: a signal stopped it; what there was has been saved.
        RunFailed: the loss is no longer finite, or the run folder cannot be written.
    """
    check(config)
    check_model(config.model)
    location = location or RunLocation()
    if location.resume is not None:
        resumed = open_unfinished(location.resume)
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
    if location.resume is None:  # "auto" may mean something else where the run is gone on with
        config = _with_data(config, splits.name)
    plan_epoch(config, images=len(splits.train), processes=launched_world().size)
    with open_session(
        kind=KIND,
        title=f"vae-{config.model.arch}",
        config=config,
        compute=config.compute,
        location=location,
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
