"""A trained VAE: its model loaded from a run folder, its result, and its signature."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dlcli.engine.checkpoint import build_from, load_model
from dlcli.engine.config import resolve, settings_signature
from dlcli.engine.events import NoticeCallback
from dlcli.engine.runs import RunFolder, find_run, using
from dlcli.engine.trainer import Result, summarise_seeds
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.images import DESCRIPTIONS
from dlcli.vae.networks import VAE, build_model
from dlcli.vae.objective import VaeNetwork

SIGNATURE_ORDER = (
    *("pixels", "likelihood", "arch", "latent_dim", "hidden", "channels", "dense", "norm"),
    *("prior", "skip", "objective", "backward", "beta", "beta_warmup", "free_bits", "batch"),
    *("optimizer", "seed"),
)
KIND = "vae"
"""What run.json and checkpoints call a VAE."""


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
        """`bernoulli` or `continuous-bernoulli`, that it was trained with."""
        return self.config.objective.likelihood

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
    return VaeNetwork(build_model(config.model), objective=config.objective)


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
    kl_per_dim = tuple(fields["kl_per_dim"])
    return TrainResult(**{**fields, "test": test, "kl_per_dim": kl_per_dim})


def describe(config: VaeTrainConfig, **measured: object) -> str:
    """Write the signature of a number that was measured on a trained VAE.

    Args:
        config: the settings of its training.
        measured: see `dlcli.engine.config.settings_signature`.
    """
    model, objective, optim = config.model, config.objective, config.optim
    conv = model.arch == "conv"
    iwae = objective.objective == "iwae"
    composed = {
        "pixels": DESCRIPTIONS[config.data.binarize],
        "hidden": None if conv else model.hidden,
        "channels": model.channels + model.decoder_channels if conv else None,
        "norm": model.norm if conv else None,
        "prior": f"flow-{model.flow_layers}-{model.flow_hidden}" if model.prior == "flow" else None,
        "objective": f"iwae-{objective.k}" if iwae else "elbo",
        "backward": objective.backward_samples or None,
        "beta_warmup": objective.beta_warmup_epochs or None,
        "batch": config.loop.batch_size * optim.accumulate,
        "optimizer": f"{optim.optimizer}-{optim.lr:g}-{optim.schedule}",
    }
    return settings_signature(config, measured, order=SIGNATURE_ORDER, composed=composed)


def summarise(results: Mapping[str, TrainResult]) -> dict[str, object]:
    """Return what `--json` says of a VAE's seeds."""
    return summarise_seeds(
        results,
        shared=("data", "arch", "epochs"),
        rate="images_per_s",
        measured="test",
        names=("elbo", "reconstruction", "kl"),
    )
