"""A trained VAE: its model loaded from a run folder, its test images, its result, its signature."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlcli.data.download import true_name
from dlcli.engine.checkpoint import build_from, load_model
from dlcli.engine.config import resolve, settings_signature
from dlcli.engine.events import NoticeCallback
from dlcli.engine.results import Result, summarise_seeds
from dlcli.engine.runs import RunFolder, find_run, using
from dlcli.engine.seed import generator
from dlcli.errors import DataError, UsageFault, plural
from dlcli.vae.config import DEFAULT_IMAGES, VaeTrainConfig, image_shape, likelihood_of
from dlcli.vae.images import DESCRIPTIONS, binarize, flat, grey, load_test_images, threshold_draws
from dlcli.vae.networks import VAE, build_model
from dlcli.vae.objective import VaeNetwork

SIGNATURE_ORDER = (
    *("size", "colour", "pixels", "likelihood", "arch", "latent_dim", "hidden"),
    *("channels", "decoder_channels", "dense", "norm"),
    *("prior", "skip", "objective", "backward", "beta", "beta_warmup", "free_bits", "batch"),
    *("optimizer", "seed"),
)
KIND = "vae"
"""What run.json and checkpoints call a VAE."""
ORDER_SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A VAE with the settings it was trained under."""

    model: VAE
    """In evaluation mode."""
    config: VaeTrainConfig
    run: RunFolder
    checkpoint: str
    """`last`, `best`, `epoch-0010`, or `exported`."""

    @property
    def epochs(self) -> int:
        """Epochs after which the checkpoint was kept."""
        kept = self.checkpoint.removeprefix("epoch-")
        return int(kept) if kept.isdigit() else self.config.loop.epochs

    @property
    def likelihood(self) -> str:
        """`bernoulli`, `continuous-bernoulli` or `logistic`, that it was trained with."""
        return likelihood_of(self.config)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, (H, W) or (H, W, 3)."""
        return image_shape(self.config.data)

    @property
    def pixels(self) -> str:
        """What it was trained on, in a word: see `pixels_of`."""
        return pixels_of(self.config)

    @property
    def is_grey(self) -> bool:
        """Whether it was trained by a cross-entropy on grey pixels, which is no density of them."""
        return self.likelihood == "bernoulli" and self.config.data.binarize == "none"


def find_trained(
    text: str | None, *, checkpoint: str | None = None, notice: NoticeCallback
) -> Trained:
    """Load the VAE that `--run` names, on the CPU, and pass a sentence about it to `notice`.

    Args:
        text: see `dlcli.engine.runs.find_run`; None is the newest trained VAE.
        checkpoint: see `load_trained`.
        notice: takes one sentence.

    Raises:
        UsageFault: there is no such run.
        CheckpointError: see `load_trained`.
    """
    trained = load_trained(find_run(text, kind=KIND), checkpoint=checkpoint)
    notice(using(trained.run, checkpoint=trained.checkpoint))
    return trained


def load_trained(
    run: RunFolder, *, checkpoint: str | None = None, device: torch.device | str = "cpu"
) -> Trained:
    """Rebuild the VAE of a run from the settings in its own checkpoint.

    Args:
        run: a run folder of a VAE.
        checkpoint: see `dlcli.engine.checkpoint.load_model`.
        device: where to put the model.

    Raises:
        CheckpointError: it is missing, damaged, or of another kind or shape.
    """
    saved = load_model(run, kind=KIND, checkpoint=checkpoint)
    config = resolve(VaeTrainConfig, [saved.config], source=str(saved.path))
    network = build_from(lambda: build_network(config), saved.weights, source=str(saved.path))
    return Trained(
        model=network.vae.to(device).eval(), config=config, run=run, checkpoint=saved.name
    )


def build_network(config: VaeTrainConfig) -> VaeNetwork:
    """Build the network that is trained, initialised from torch's global seed."""
    vae = build_model(
        config.model, shape=image_shape(config.data), likelihood=likelihood_of(config)
    )
    return VaeNetwork(vae, objective=config.objective)


def with_true_data(trained: Trained, *, notice: NoticeCallback) -> Trained:
    """Name the data set that a run was trained on, where its settings say only `auto`.

    Raises:
        DataError: `auto` is another data set here than it was there, or none can be had.
    """
    data = trained.config.data
    if data.name != "auto":
        return trained
    name = true_name("auto", kind="images", offline=data.offline, notice=notice)
    result = trained.run.record().get("result")
    recorded = result.get("data") if isinstance(result, dict) else None
    if recorded not in (None, name):
        raise DataError(
            f"{trained.run.path} was trained on {recorded}, and what can be had here is {name}.",
            hint=f"Fetch it with `dl data fetch {recorded}`.",
        )
    config = dataclasses.replace(trained.config, data=dataclasses.replace(data, name=name))
    return dataclasses.replace(trained, config=config)


@dataclass(frozen=True, kw_only=True, eq=False)
class TestImages:
    """Some test images of a run's data set."""

    __test__ = False  # not a test case, whatever its name says to pytest

    numbers: Tensor
    """(N,): which of the test set, in order."""
    seen: Tensor
    """Pixels (N, M) in [0, 1], as the model is used to seeing them."""
    dense: Tensor
    """(N, M): of which the model has a density; black and white where `seen` is grey."""

    def to(self, device: torch.device) -> TestImages:
        """Move the pixels."""
        moved = {"seen": self.seen.to(device), "dense": self.dense.to(device)}
        return dataclasses.replace(self, **moved)


def choose_images(
    trained: Trained, *, count: int | None, seed: int, notice: NoticeCallback
) -> TestImages:
    """Choose test images of the run's own data set, and draw their pixels.

    Their order is one random permutation, the same for every run, so that the first N are a fair
    sample whatever N is, and so is what an interrupted evaluation has seen. An image's binarisation
    depends on the seed and its own position in the test set alone: different runs, and different N,
    are compared on the same black and white pixels.

    Args:
        trained: the run.
        count: how many, the first of the fixed order; none is 1,000, or all where there are fewer.
        seed: of the pixels that are drawn.
        notice: called with a sentence where the user should know something.

    Raises:
        UsageFault: there are not so many.
        DataError: the run's data set cannot be had.
    """
    data = trained.config.data
    rows = flat(load_test_images(data, notice=notice))
    wanted = min(DEFAULT_IMAGES, len(rows)) if count is None else count
    if not 1 <= wanted <= len(rows):
        raise UsageFault(
            f"{data.name} has {plural(len(rows), 'test image')}, not {wanted:,}.",
            hint=f"Use --images 1 to {len(rows)}.",
        )
    order = torch.randperm(len(rows), generator=generator(ORDER_SEED, "evaluation order"))
    numbers = order[:wanted]
    stream = generator(seed, "evaluation pixels")
    draws = threshold_draws(len(rows), pixels=rows.shape[1], generator=stream)
    black = binarize(rows[numbers], draws=draws[numbers])
    seen = black if data.binarize == "dynamic" else grey(rows[numbers])
    return TestImages(numbers=numbers, seen=seen, dense=black if trained.is_grey else seen)


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """A run's one reading of the test set: nats an image."""

    __test__ = False  # not a test case, whatever its name says to pytest

    elbo: float
    """−(reconstruction + kl)."""
    reconstruction: float
    kl: float
    std_error: float | None
    """Of `elbo`, over images."""
    iwae: float
    """The IWAE bound with as many samples as the ELBO was averaged over."""
    images: int


@dataclass(frozen=True, kw_only=True)
class TrainResult(Result):
    """What the training of a VAE came to."""

    arch: str
    images_per_s: float
    """Images a second of training alone, over all sessions of the run."""
    test: TestResult
    active_units: int
    kl_per_dim: tuple[float, ...]
    """On the test images, nats; empty with a learned prior, to which the KL is no such sum."""
    latent_dim: int = 0
    """D; 0 in what was written before it was kept."""
    likelihood: str = ""
    """p(x|z) of the losses: those of different ones are not to be compared. Empty in what was
    written before it was kept."""
    shape: tuple[int, ...] = (28, 28)
    """Of an image, (H, W) or (H, W, 3)."""

    @property
    def metrics(self) -> dict[str, object]:
        """Return the key numbers, for tables of runs."""
        return dataclasses.asdict(self.test)


def read_result(fields: Mapping[str, Any]) -> TrainResult:
    """Rebuild a result from run.json.

    Raises:
        TypeError, KeyError: fields are missing or unknown.
    """
    test = TestResult(**fields["test"])
    tuples = {name: tuple(fields[name]) for name in ("kl_per_dim", "shape") if name in fields}
    return TrainResult(**{**fields, "test": test, **tuples})


def describe(config: VaeTrainConfig, **measured: object) -> str:
    """Write the signature of a number that was measured on a trained VAE.

    Args:
        config: the settings of its training.
        measured: see `dlcli.engine.config.settings_signature`.
    """
    model, objective, optim = config.model, config.objective, config.optim
    conv = model.arch == "conv"
    iwae = objective.objective == "iwae"
    shape = image_shape(config.data)
    composed = {
        "size": None if shape[:2] == (28, 28) else "x".join(map(str, shape[:2])),
        "colour": "yes" if len(shape) == 3 and config.data.binarize != "none" else None,
        "pixels": pixels_of(config),
        "likelihood": likelihood_of(config),
        "hidden": None if conv else model.hidden,
        "channels": model.channels if conv else None,
        "decoder_channels": model.decoder_channels if conv else None,
        "norm": model.norm if conv else None,
        "prior": f"flow-{model.flow_layers}-{model.flow_hidden}" if model.prior == "flow" else None,
        "objective": f"iwae-{objective.k}" if iwae else "elbo",
        "backward": objective.backward_samples or None,
        "beta_warmup": objective.beta_warmup_epochs or None,
        "batch": config.loop.batch_size * optim.accumulate,
        "optimizer": f"{optim.optimizer}-{optim.lr:g}-{optim.schedule}",
    }
    return settings_signature(config, measured, order=SIGNATURE_ORDER, composed=composed)


def pixels_of(config: VaeTrainConfig) -> str:
    """Say what the pixels are that a model is trained on: "grey", "colour", or how binarised."""
    colour = config.data.colour and config.data.binarize == "none"
    return "colour" if colour else DESCRIPTIONS[config.data.binarize]


def summarise(results: Mapping[str, TrainResult]) -> dict[str, object]:
    """Return what `--json` says of a VAE's seeds."""
    return summarise_seeds(
        results,
        shared=("data", "arch", "epochs"),
        rate="images_per_s",
        measured="test",
        names=("elbo", "reconstruction", "kl"),
    )
