"""Ancestral sampling (`dl sample`, Question 1): z ~ N(0, I), then x ~ p(x|z), with their densities.

The decoder is that of a run or a fresh one with random weights, the latents are new ones or those
of a file, so that one z can be shown to several models.

Legend: N latents, S draws of each, D latent dimensions, M numbers of a picture. Pictures are
(N, H, W), and in colour (N, H, W, 3).
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dlcli.engine.config import signature
from dlcli.engine.seed import derive, generator
from dlcli.errors import RunFailed, UsageFault
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.generation import (
    Array,
    as_array,
    as_pictures,
    decoded,
    label_of,
    prior_latents,
)
from dlcli.vae.networks import VAE, build_model
from dlcli.vae.trained import Trained, describe

MOST_PIXELS = 400_000_000
"""Pixels drawn at once, 1.6 GB of them."""
FORMS = (
    "An npz with an array `z`, an npy, or text with one latent a line, numbers apart by spaces or "
    "commas, can be read."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class AncestralSample:
    """Latents, what they are decoded to, and what was drawn from that."""

    z: Array
    """(N, D)."""
    means: Array
    """E[x|z], (N, H, W) in [0, 1]."""
    draws: Array
    """x ~ p(x|z), (N, S, H, W)."""
    log_prior: tuple[float, ...]
    """log N(z; 0, I) of each latent, nats."""
    log_joint: tuple[tuple[float, ...], ...]
    """log p(z, x) = log N(z; 0, I) + log p(x|z) of each draw, nats: (N, S)."""
    label: str
    """What the draws are, such as "Bernoulli draw from p(x|z)"."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.z)


@torch.inference_mode()
def ancestral_sample(model: VAE, z: Tensor, *, draws: int, seed: int) -> AncestralSample:
    """Decode latents and draw pixels from each decoded p(x|z).

    Args:
        model: put back into its mode afterwards.
        z: (N, D), on the CPU.
        draws: S.
        seed: of the pixels.

    Raises:
        UsageFault: fewer than one draw, more than fit into memory, or latents of another model.
        RunFailed: the decoder returned NaN.
    """
    _check(model, z, draws=draws)
    logits = decoded(model, z)[:, None]  # (N, 1, M)
    if not bool(logits.isfinite().all()):
        raise RunFailed(
            "The decoder returned NaN or infinity.", hint="Check its weights and the latents."
        )
    likelihood = model.likelihood
    pixels = likelihood.sample(
        logits.expand(-1, draws, -1), generator=generator(seed, "sample", "x")
    )
    prior = -0.5 * (z.double().square().sum(-1) + z.shape[1] * math.log(2 * math.pi))
    given = likelihood.log_prob(logits.double(), pixels.double())  # (N, S)
    return AncestralSample(
        z=as_array(z),
        means=as_pictures(likelihood.mean(logits), shape=model.shape),
        draws=as_array(pixels.view(len(z), draws, *model.shape)),
        log_prior=tuple(prior.tolist()),
        log_joint=tuple(tuple(row) for row in (prior[:, None] + given).tolist()),
        label=label_of(model, draw=True),
    )


def _check(model: VAE, z: Tensor, *, draws: int) -> None:
    if draws < 1:
        raise UsageFault(f"{draws} draws cannot be shown.", hint="Ask for 1 or more with --draws.")
    if z.shape[1] != model.latent_dim:
        raise UsageFault(
            f"The latents have {z.shape[1]} dimensions and the model {model.latent_dim}.",
            hint=f"Give latents of {model.latent_dim} numbers a line, or choose another model.",
        )
    if len(z) * draws * math.prod(model.shape) > MOST_PIXELS:
        raise UsageFault(
            f"{len(z)} x {draws} pictures do not fit into memory at once.",
            hint="Ask for fewer with --n or --draws.",
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledModel:
    """A decoder to sample from."""

    model: VAE
    name: str
    """For titles: the run's name, or "untrained mlp"."""
    trained: Trained | None
    arch: str

    @property
    def stem(self) -> str:
        """What a file's name says of it: nothing for a run, whose folder the file goes to."""
        return "" if self.trained else f"{self.name.replace(' ', '-')}-"

    def signature(self, *, count: int, draws: int, seed: int, file: Path | None) -> str:
        """Say what changes the sample and the densities."""
        latents = f"file-{file.name}" if file is not None else "prior"
        if self.trained is not None:
            return describe(
                self.trained.config,
                estimator="ancestral",
                data=self.trained.config.data.name,
                checkpoint=self.trained.checkpoint,
                init=self.trained.run.origin,
                latents=latents,
                count=count,
                draws=draws,
                sampling_seed=seed,
            )
        return signature(
            estimator="ancestral",
            model="untrained",
            arch=self.arch,
            latent_dim=self.model.latent_dim,
            likelihood=self.model.likelihood.name,
            latents=latents,
            count=count,
            draws=draws,
            seed=seed,
        )


def of_run(trained: Trained) -> SampledModel:
    """Sample from a trained run."""
    return SampledModel(
        model=trained.model,
        name=trained.run.path.name,
        trained=trained,
        arch=trained.config.model.arch,
    )


def fresh(*, arch: Literal["mlp", "conv"], latent_dim: int, seed: int) -> SampledModel:
    """Sample from a decoder with random weights."""
    model = untrained_model(VaeModelConfig(arch=arch, latent_dim=latent_dim), seed=seed)
    return SampledModel(model=model, name=f"untrained {arch}", trained=None, arch=arch)


def untrained_model(arch: VaeModelConfig, *, seed: int) -> VAE:
    """Build a fresh random model; torch's global random state is left as it was.

    Raises:
        ConfigError: see `dlcli.vae.config.check_model`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "untrained"))
        return build_model(arch).eval()


def chosen_latents(
    model: VAE, *, file: Path | None, count: int | None, default: int, seed: int
) -> Tensor:
    """Return latents (N, D): those of a file (the first `count` of them), or new ones.

    Raises:
        UsageFault: the file cannot be read; see `read_latents`.
    """
    if file is None:
        return draw_latents(model, count=count or default, seed=seed)
    return read_latents(file)[:count]


def draw_latents(model: VAE, *, count: int, seed: int) -> Tensor:
    """Draw z ~ N(0, I), (count, D): for one seed and D the same with every model."""
    return prior_latents(model, count=count, generator=generator(seed, "sample", "z"))


def read_latents(path: Path) -> Tensor:
    """Read latents (N, D) from an npz (its array `z`, or its only one), an npy, or text.

    Text has one latent a line, its numbers apart by spaces or commas; `#` begins a comment.

    Returns:
        float32.

    Raises:
        UsageFault: the file cannot be read, or holds no finite matrix.
    """
    try:
        values = _numbers(path)
    except OSError as error:
        raise UsageFault(
            f"The latents {path} cannot be read: {error.strerror or error}.", hint=FORMS
        ) from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UsageFault(f"{path} holds no latents.", hint=FORMS) from None
    if values.ndim != 2 or not values.size:
        raise UsageFault(f"{path} holds an array of shape {values.shape}, not (N, D).", hint=FORMS)
    latents = torch.from_numpy(values.astype(np.float32))
    if not bool(torch.isfinite(latents).all()):
        raise UsageFault(
            f"Not all latents in {path} are finite numbers.", hint="Replace or remove them."
        )
    return latents


def _numbers(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    if path.suffix.lower() not in (".npz", ".npy"):
        return _text(path)
    held = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if isinstance(held, np.ndarray):
        return np.asarray(held, dtype=np.float64)
    with held:
        names = held.files
        name = "z" if "z" in names or len(names) != 1 else names[0]
        return np.asarray(held[name], dtype=np.float64)


def _text(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    lines = path.read_text(encoding="utf-8-sig").replace(",", " ").splitlines()
    with warnings.catch_warnings(action="ignore"):  # an empty file is refused by its shape
        return np.loadtxt(lines, dtype=np.float64, ndmin=2)
