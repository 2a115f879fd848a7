"""What a training came to, and the line that says how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlcli.engine.signature import signature
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.pixels import DESCRIPTIONS


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
class TrainResult:
    """What a training came to."""

    run: str
    """Absolute path of the run folder."""
    data: str
    arch: str
    epochs: int
    """Whole epochs trained."""
    images_per_s: float
    """Images a second of training alone, over all sessions of the run."""
    train_s: float
    test: TestResult
    active_units: int
    kl_per_dim: tuple[float, ...]
    """On the test images, nats; empty with a learned prior, to which the KL is no such sum."""
    reason: str
    """Why it ended: `done`, `early-stop` or `max-minutes`."""
    signature: str
    latent_dim: int = 0
    """D; 0 in what was written before it was kept."""


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
        measured: what only the measurement knows, such as `data` and `precision`; comes first.
    """
    model, objective, optim = config.model, config.objective, config.optim
    conv = model.arch == "conv"
    iwae = objective.objective == "iwae"
    return signature(
        **measured,
        pixels=DESCRIPTIONS[config.data.binarize],
        likelihood=objective.likelihood,
        arch=model.arch,
        latent_dim=model.latent_dim,
        hidden=None if conv else model.hidden,
        channels=model.channels + model.decoder_channels if conv else None,
        dense=model.dense or None,
        norm=model.norm if conv else None,
        prior=f"flow-{model.flow_layers}-{model.flow_hidden}" if model.prior == "flow" else None,
        skip=True if model.skip else None,
        objective=f"iwae-{objective.k}" if iwae else "elbo",
        backward=objective.backward_samples or None,
        beta=objective.beta if objective.beta != 1 else None,
        beta_warmup=objective.beta_warmup_epochs or None,
        free_bits=objective.free_bits or None,
        batch=config.loop.batch_size * optim.accumulate,
        optimizer=f"{optim.optimizer}-{optim.lr:g}-{optim.schedule}",
        seed=config.compute.seed,
    )
