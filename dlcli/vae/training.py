"""Training a VAE: what is special about it; the common story is in `dlcli.engine.trainer`.

`VaeTask` says how a VAE is built, started, watched and measured. `VaeLearner` gives the training
loop batches of pixels and noise, and an evaluation. Everything random is drawn for the global batch
from generators named by (seed, epoch, batch), and each process takes its rows: how many processes
there are, and where a run was stopped, changes nothing. The images live on the device as one uint8
tensor (MNIST: 47 MB), a user's own mapped into memory; a batch is one gather.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dlcli.data.user_images import is_same_path
from dlcli.engine import trainer
from dlcli.engine.checkpoint import load_checkpoint_into, snapshot_epoch
from dlcli.engine.config import load_yaml
from dlcli.engine.device import choose_device
from dlcli.engine.distributed import launched_world
from dlcli.engine.events import (
    Evaluated,
    Event,
    Finished,
    Notice,
    NoticeCallback,
    Pictures,
    Preview,
    RunStarted,
    Saved,
    TrainingStep,
)
from dlcli.engine.runs import RunFolder
from dlcli.engine.seed import generator
from dlcli.engine.session import RunLocation, Session
from dlcli.engine.step import Batch, BatchRanges, rows_of_process
from dlcli.engine.trainer import Task, items_per_s
from dlcli.errors import ConfigError
from dlcli.vae.config import (
    VaeObjectiveConfig,
    VaeTrainConfig,
    check,
    image_shape,
    likelihood_of,
    with_images,
)
from dlcli.vae.elbo import LatentUse, collapse_sentence, evaluate, latent_use
from dlcli.vae.generation import SNAPSHOT_IMAGES, take_snapshot
from dlcli.vae.images import Splits, binarize, flat, grey, load_splits, threshold_draws
from dlcli.vae.networks import VAE
from dlcli.vae.objective import ChoosingNoise, VaeNetwork, beta_at
from dlcli.vae.trained import KIND, TestResult, TrainResult, build_network, describe, read_result

TEST_SEED = 0
"""Seed of the noise (and pixels) of every test evaluation: runs are compared on the same draws."""
TEST_NOISE_SAMPLES = 16
FLOW = "vae.flow."
"""What the names of a learned prior's weights begin with."""
FIRST_PREVIEW_S = 30.0
"""Seconds after which a terminal shows pictures, however long the first epoch is."""
PREVIEW_IMAGES = 16
"""More than a row of a terminal holds."""
WATCHED_IMAGES = 1000
"""Training images whose latents are watched where there is no validation data."""


def train(
    config: VaeTrainConfig, *, location: RunLocation | None = None, init_from: str | None = None
) -> Generator[Event, None, TrainResult | None]:
    """Train a VAE; see `dlcli.engine.trainer.train`.

    Yields:
        the engine's events, `Pictures` at the epochs of `config.snapshots`, and notices.

    Returns:
        The result, with the test set read once; None on processes other than the main one.
    """
    return trainer.train(TASK, config, location=location, init_from=init_from)


class VaeTask(Task[VaeTrainConfig, Splits, "VaeLearner", TrainResult]):
    """How a VAE is trained."""

    kind = KIND
    weights_hint = "Use the --arch, --latent-dim, --norm, --prior and sizes it was trained with."

    def title(self, config: VaeTrainConfig) -> str:
        """Return `vae-mlp` or `vae-conv`."""
        return f"vae-{config.model.arch}"

    def bf16_pays(self, config: VaeTrainConfig) -> bool:
        """Say yes for the convolutional network alone, and not where pixels have levels.

        A bfloat16 in [0.5, 1) is known to 1/256, as coarse as the levels are: 32x32 shapes in
        colour lost 53 of 13,730 nats after five epochs, and no time was gained.
        """
        return config.model.arch == "conv" and likelihood_of(config) != "logistic"

    def check(self, config: VaeTrainConfig, *, untrained: bool) -> None:
        """Hold settings against one another, the device and the weights to start from."""
        check(config)
        device = choose_device(config.compute.device).type
        if _shares_statistics(config) and device != "cuda":
            raise ConfigError(
                f"--sync-batch-norm works between CUDA devices, and this run is on {device}.",
                hint="Leave it out: each process then keeps its own batch statistics.",
            )
        if untrained and config.model.norm == "frozen":
            raise ConfigError(
                "--norm frozen keeps the statistics of weights that were trained, and there are "
                "none.",
                hint="Add --init-from RUN, or use --norm batch.",
            )

    def load_data(
        self,
        config: VaeTrainConfig,
        *,
        resumed: RunFolder | None,  # noqa: ARG002
        origin: RunFolder | None,  # noqa: ARG002
        notice: NoticeCallback,
    ) -> Splits:
        """Load training, validation and test images."""
        splits = load_splits(config.data, notice=notice)
        plan_epoch(config, images=len(splits.train), processes=launched_world().size)
        return splits

    def resumed_config(self, config: VaeTrainConfig, run: RunFolder) -> VaeTrainConfig:
        """Let what the settings leave to the images mean what it was when the run was started."""
        config = super().resumed_config(config, run)
        saved, data = load_yaml(run.config_file).get("data"), config.data
        if isinstance(saved, dict):
            if is_same_path(data.name, str(saved.get("name"))):
                data = dataclasses.replace(data, name=str(saved["name"]))
            size = data.image_size if data.image_size != "auto" else saved.get("image_size", "auto")
            colour = saved.get("colour") if data.colour is None else data.colour
            data = dataclasses.replace(data, image_size=str(size), colour=bool(colour))
        return with_images(dataclasses.replace(config, data=data), image_shape(data))

    def with_data(self, config: VaeTrainConfig, data: Splits) -> VaeTrainConfig:
        """Fill in the data's name, and what follows from its images."""
        found = with_images(super().with_data(config, data), data.shape)
        check(found)
        return found

    def build_network(self, config: VaeTrainConfig, data: Splits) -> nn.Module:  # noqa: ARG002
        """Build encoder, decoder and prior."""
        return build_network(config)

    def build_learner(
        self, config: VaeTrainConfig, data: Splits, *, device: torch.device, processes: int = 1
    ) -> VaeLearner:
        """Build the network and put the training images beside it.

        Raises:
            ConfigError: see `VaeLearner`.
        """
        network = build_network(config)
        if _shares_statistics(config):
            convert: Callable[[VAE], VAE] = nn.SyncBatchNorm.convert_sync_batchnorm
            network.vae = convert(network.vae)
        return VaeLearner(
            network.to(device),
            train=data.train,
            validation=data.validation,
            config=config,
            device=device,
            processes=processes,
        )

    def starting_weights(self, weights: Mapping[str, Any], network: nn.Module) -> Mapping[str, Any]:
        """Add the network's own prior, the identity, to weights that have no learned one."""
        if any(str(name).startswith(FLOW) for name in weights):
            return weights
        own = network.state_dict()
        return {**{name: own[name] for name in own if name.startswith(FLOW)}, **weights}

    def keep_epochs(self, config: VaeTrainConfig) -> tuple[int, ...]:
        """Return the epochs of the snapshots."""
        return config.snapshots

    def watch(
        self, config: VaeTrainConfig, learner: VaeLearner, events: Iterable[Event]
    ) -> Iterator[Event]:
        """Add pictures, and a warning where the posterior has collapsed."""
        screen, collapse = _Screen(config, learner), _Collapse(config)
        for event in events:
            own = itertools.chain(screen.pictures(event), collapse.warnings(event))
            if isinstance(event, Finished):  # nothing is taken after it
                yield from own
                yield event
            else:
                yield event
                yield from own

    def test_losses(self, config: VaeTrainConfig, result: TrainResult) -> Mapping[str, float]:
        """Return the halves of the ELBO, and their sum where training minimises just that."""
        test, objective = result.test, config.objective
        losses = {"reconstruction": test.reconstruction, "kl": test.kl}
        if objective == VaeObjectiveConfig(likelihood=objective.likelihood):
            losses["loss"] = -test.elbo
        return losses

    def read_result(self, fields: Mapping[str, Any]) -> TrainResult:
        """Rebuild a result from run.json."""
        return read_result(fields)

    def result(
        self,
        session: Session,
        learner: VaeLearner,
        *,
        data: Splits,
        end: Finished,
    ) -> TrainResult:
        """Read the test set, once, with the best weights or else the last."""
        config, folder = learner.config, session.folder
        if folder.checkpoint("best").is_file():
            load_checkpoint_into(learner.network, folder, kind=KIND, checkpoint="best")
        found = evaluate(
            learner.vae,
            data.test,
            generator=generator(TEST_SEED, "test"),
            noise_samples=TEST_NOISE_SAMPLES,
            binarize=config.data.binarize,
        )
        return TrainResult(
            run=str(folder.path),
            data=data.name,
            arch=config.model.arch,
            epochs=end.epoch,
            images_per_s=items_per_s(session, learner, items=learner.images, end=end),
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
            likelihood=learner.vae.likelihood.name,
            shape=learner.vae.shape,
            reason=end.reason,
            signature=describe(
                config,
                data=data.name,
                split="test",
                images=found.images,
                estimator="elbo",
                samples=found.noise_samples,
                train_images=learner.images,
                epochs=end.epoch,
                precision=session.precision,
                init=folder.origin,
            ),
        )


TASK = VaeTask()


def _shares_statistics(config: VaeTrainConfig) -> bool:
    return config.compute.sync_batch_norm and config.model.norm == "batch"


class _Screen:
    """Draws pictures of the same latents: at each snapshot, after each epoch, and once early on.

    Where a run has snapshots, its last epoch is one more, whose checkpoint is `last`. Only the main
    process has events that it draws at.
    """

    def __init__(self, config: VaeTrainConfig, learner: VaeLearner) -> None:
        self._config, self._learner = config, learner
        self._updates = 0
        """In an epoch."""
        self._epochs = 0
        """After which the newest pictures were drawn."""
        self._due_s = math.inf
        """When to draw before the first epoch is over."""

    def pictures(self, event: Event) -> Iterator[Pictures | Preview]:
        """Yield pictures where an event calls for them."""
        if isinstance(event, RunStarted):
            self._updates = event.steps_per_epoch
            self._epochs = -1 if event.step else 0
            self._due_s = time.monotonic() + FIRST_PREVIEW_S
        moments = RunStarted | TrainingStep | Saved | Finished
        if not self._updates or not isinstance(event, moments):
            return
        epochs, more = divmod(event.step, self._updates)
        snapshot = isinstance(event, Saved) and snapshot_epoch(event.path) is not None
        if isinstance(event, Finished) and self._config.snapshots and not more:
            snapshot = event.reason != "interrupted" and epochs not in self._config.snapshots
        early = more and time.monotonic() > self._due_s
        if not (snapshot or epochs > self._epochs or early):
            return
        gallery = take_snapshot(
            self._learner.vae,
            seed=self._config.compute.seed,
            epoch=epochs,
            count=SNAPSHOT_IMAGES if snapshot else PREVIEW_IMAGES,
        ).gallery
        when = f"after epoch {epochs}" if epochs else "before training"
        if more:
            when = f"in epoch {epochs + 1}"
        caption = f"{gallery.label} {when}, the same z each time"
        if snapshot:
            yield Pictures(epoch=epochs, images=gallery.images, caption=caption)
        else:
            self._due_s = math.inf
            yield Preview(images=gallery.images, caption=caption)
        self._epochs = epochs


class _Collapse:
    """Warns once of a collapsed posterior: where two evaluations in a row show it, or the last one.

    A network that has not learned much yet looks the same at a first evaluation.
    """

    def __init__(self, config: VaeTrainConfig) -> None:
        self._dims, self._objective = config.model.latent_dim, config.objective.objective
        self._sentence = ""
        """Of the newest evaluation."""
        self._warned = False

    def warnings(self, event: Event) -> Iterator[Notice]:
        """Yield the warning where an event calls for it."""
        before = self._sentence
        if isinstance(event, Evaluated):
            self._sentence = collapse_warning(
                event.metrics, dims=self._dims, objective=self._objective
            )
        elif not isinstance(event, Finished) or event.reason == "interrupted":
            return
        if before and self._sentence and not self._warned:
            self._warned = True
            yield Notice(message=self._sentence, level="warning")


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


class VaeLearner:
    """A VAE, its images and its evaluation, for `dlcli.engine.loop.Training`.

    Args:
        network: on `device`.
        train: (N, H, W) or (N, H, W, 3) uint8; for `fixed`, already drawn.
        validation: the same, perhaps of no image.
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
            begin, end = rows_of_process(last - first, rank=rank, world=world)
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
        draws = threshold_draws(count, pixels=rows.shape[1], generator=stream)
        return binarize(rows, draws=draws[mine])


def _latent_metrics(found: LatentUse) -> dict[str, object]:
    return {"kl_per_dim": list(found.kl_per_dim), "active_units": found.active_units}


def plan_epoch(config: VaeTrainConfig, *, images: int, processes: int = 1) -> BatchRanges:
    """Cut an epoch of `images` into batches: (start, stop) positions in the epoch's order.

    The last batch is short. Batch normalisation needs two images in each process: the statistics of
    a lone one are its own contrast, which they would normalise away. A shorter batch at the end
    joins the one before.

    Raises:
        ConfigError: there are no images, or too few in a batch.
    """
    if images < 1:
        raise ConfigError(
            "There are no images to train on.",
            hint="Lower --validation, or choose a larger --train-images.",
        )
    least = 2 * processes if config.model.arch == "conv" and config.model.norm == "batch" else 1
    starts = list(range(0, images, config.loop.batch_size))
    if len(starts) > 1 and images - starts[-1] < least:
        starts.pop()
    plan = list(zip(starts, [*starts[1:], images], strict=True))
    smallest = min(stop - start for start, stop in plan)
    if smallest < least:
        raise ConfigError(
            f"Batch normalisation needs at least 2 images a batch in each process, and {processes} "
            f"would share a batch of {smallest}.",
            hint="Raise --batch-size or --train-images, or use --norm none.",
        )
    return plan
