"""What the answers share: how large experiments are, the models at hand, and small trainings."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

import dlcli
from dlcli import pretrained
from dlcli.data.catalogue import named, recommended
from dlcli.data.download import true_name
from dlcli.data.storage import find
from dlcli.display.console import to_json
from dlcli.engine.config import resolve, to_dict
from dlcli.engine.events import NoticeCallback
from dlcli.engine.results import Result
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import RunLocation
from dlcli.engine.settings import RunConfig
from dlcli.engine.trainer import Listener, Train, train_once
from dlcli.errors import RunFailed
from dlcli.nmt.config import NmtTrainConfig
from dlcli.nmt.trained import Trained as TrainedNmt
from dlcli.nmt.trained import load_trained as load_nmt
from dlcli.nmt.training import train as train_nmt
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.trained import Trained, TrainResult, load_trained
from dlcli.vae.training import train as train_vae

R = TypeVar("R", bound=Result)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the experiments are; by default those of a quick report.

    That takes the packaged models and the metrics stored with them, and trains small networks on
    embedded digits.
    """

    trained_here: bool = False
    """Whether the large models are trained by the report instead of taken from the package."""
    train_data: str = "glyphs:5000"
    """What the VAE trainings of the report itself see: a data set, or `auto`."""
    epochs: int = 10
    snapshots: tuple[int, ...] = (0, 2, 10)
    grid_images: int = 0
    """Training images of a cell of Question 9's grid, of Question 6's and of Question 11's; 0 is
    all of the data set."""
    grid_epochs: int = 2
    beta_epochs: int = 5
    conv_images: int = 2000
    conv_epochs: int = 4
    eval_images: int = 100
    eval_k: int = 500
    snapshot_images: int = 200
    snapshot_k: int = 200
    judge_images: int = 0
    """Generated digits that a classifier reads; 0 trains no classifier."""
    gradient_images: int = 32
    gradient_samples: int = 100
    dims: tuple[int, ...] = (2, 20, 200)
    prior_samples: tuple[int, ...] = (10, 100, 1000, 10_000, 100_000, 1_000_000)
    kl_samples: int = 100_000
    sentences: int = 1000
    """Test sentences that are translated and aligned; 0 is all of the split."""
    beam_size: int = 1
    depths: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    norm_seeds: int = 8
    train_stacks: bool = False

    @property
    def mode(self) -> str:
        """`quick` or `full`."""
        return "full" if self.trained_here else "quick"


QUICK = Sizes()
FULL = dataclasses.replace(
    QUICK,
    trained_here=True,
    train_data="auto",
    epochs=80,
    snapshots=(0, 10, 80),
    grid_images=10_000,
    grid_epochs=10,
    beta_epochs=10,
    conv_images=10_000,
    conv_epochs=10,
    eval_images=1000,
    eval_k=5000,
    snapshot_images=1000,
    snapshot_k=500,
    judge_images=10_000,
    gradient_images=64,
    gradient_samples=200,
    kl_samples=1_000_000,
    sentences=0,
    beam_size=5,
    train_stacks=True,
)
"""The assignment's settings, trained on this machine: hours."""


FORMAT = "3"
FILES = ("*.py", "*.cpp", "*.h", "*.yaml", "*.safetensors")
"""What an answer depends on beside its settings: the form it is kept in, and these files."""
STAND_IN = "glyphs:1000"
"""Drawn by the package itself: test images where a model's own cannot be had."""
TRANSLATOR = "nmt-grammar"
"""The packaged translator that questions are put to."""
TRANSLATOR_DATA = "grammar"
"""What the report's own translators are trained on: of its sentences the links are known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A trained VAE, ready to be tested on images that are there."""

    trained: Trained
    name: str
    """As `--run` takes it."""
    own: str
    """The data set it was trained on."""

    @property
    def learnt(self) -> str:
        """How it was trained, as the name of a number says it."""
        config, more = self.trained.config, " more" if self.trained.run.origin else ""
        way = "" if config.data.binarize == "none" else f" of {config.data.binarize} binarisation"
        return f"{config.loop.epochs}{more} epochs{way}"

    @property
    def note(self) -> str:
        """What the reader must know where the images are of another kind; else nothing."""
        data = self.trained.config.data.name
        if data == self.own:
            return ""
        return (
            f"`{self.name}` was trained on {self.own} and is tested here on {data}, other images "
            f"than it knows. Where {self.own} is on the machine (`dl data fetch {self.own}`), "
            f"`dl report` tests on it."
        )

    def signed(self, signature: str) -> str:
        """Add to a signature what the model was trained on, where that is not what it names."""
        if not self.note:
            return signature
        return signature.replace("|version:", f"|trained-on:{self.own}|version:")


@dataclass(frozen=True, kw_only=True, eq=False)
class Lab:
    """Models, data and settings of one report.

    Args:
        sizes: how large its experiments are.
        runs: the folder of its own trainings.
        data: images to test on; `auto` is what a model was trained on where that is on this
            machine, else `STAND_IN`, without the network.
        offline: never use the network, whatever is named.
        notice: called with one sentence at a time.
        listeners: of the trainings.
    """

    sizes: Sizes
    runs: Path
    data: str = "auto"
    offline: bool = False
    seed: int = 0
    threads: int = 0
    device: str = "auto"
    notice: NoticeCallback = lambda _: None
    listeners: Sequence[Listener] = ()

    @property
    def and_seed(self) -> str:
        """What a printed command ends with, so that it gives this report's numbers."""
        return f" --seed {self.seed}" if self.seed else ""

    @property
    def compute(self) -> dict[str, Any]:
        """Where everything is computed, and from which seed, as settings."""
        return {"device": self.device, "seed": self.seed, "threads": self.threads}

    @functools.cached_property
    def inputs(self) -> dict[str, object]:
        """All that answers are made from, the package's own files aside."""
        return {
            "sizes": self.sizes,
            "data": self.data,
            "mnist": self.has("mnist"),
            "trained-on": self.train_images,
            "runs": str(self.runs) if self.sizes.trained_here else "",
            "seed": self.seed,
            "threads": self.threads,
            "device": self.device,
            "gpu": torch.cuda.is_available(),
            "compile": os.environ.get("DL_COMPILE", "") or os.environ.get("DL_SIMD", ""),
            "torch": torch.__version__,
            "matplotlib": version("matplotlib"),
        }

    def has(self, data: str) -> bool:
        """Say whether a data set is on this machine."""
        data_set = named(data)
        return data_set.name in ("glyphs", "grammar") or find(data_set) is not None

    @functools.cached_property
    def train_images(self) -> str:
        """The data set that VAEs are trained on, by its true name."""
        name = self.sizes.train_data
        if self.sizes.trained_here and self.data != "auto":
            name = self.data
        return true_name(name, kind="images", offline=self.offline, notice=self.notice)

    @functools.cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """Trained VAEs, the one that commands take by default first."""
        if self.sizes.trained_here:
            runs = [RunFolder(Path(self.published(arch).run)) for arch in ("conv", "mlp")]
            names = [shown_path(run) for run in runs]
        else:
            runs = [_packaged(name) for name in pretrained.names()]
            runs = [run for run in runs if run.record().get("kind") == "vae"]
            runs.sort(key=lambda run: run.path.name != pretrained.DEFAULTS["vae"])
            names = [f"{pretrained.PREFIX}{run.path.name}" for run in runs]
        return tuple(
            self.subject(load_trained(run), name=name)
            for run, name in zip(runs, names, strict=True)
        )

    def subject(self, trained: Trained, *, name: str) -> Subject:
        """Give a trained VAE images to be tested on."""
        own = trained.config.data.name
        data = self.data
        if data == "auto":
            data = own if self.has(own) else STAND_IN
        offline = self.offline or self.data == "auto"
        pixels = dataclasses.replace(trained.config.data, name=data, offline=offline)
        config = dataclasses.replace(trained.config, data=pixels)
        found = dataclasses.replace(trained, config=config)
        return Subject(trained=found, name=name, own=own)

    @functools.cached_property
    def translator(self) -> tuple[TrainedNmt, str]:
        """A translator of sentences whose links are known, and how `--run` names it."""
        if self.sizes.trained_here:
            run = self.train_translator("nmt", {})
            return load_nmt(run), shown_path(run)
        return load_nmt(_packaged(TRANSLATOR)), f"{pretrained.PREFIX}{TRANSLATOR}"

    def vae_config(self, changes: Mapping[str, Any]) -> VaeTrainConfig:
        """Return the settings of `dl vae train --data …` with these changes."""
        own = {**self._own(self.train_images), "snapshots": []}
        return resolve(VaeTrainConfig, [recommended(self.train_images, task="vae"), own, changes])

    def translator_config(self, changes: Mapping[str, Any]) -> NmtTrainConfig:
        """Return the settings of `dl nmt train --data …` with these changes."""
        own = self._own(TRANSLATOR_DATA)
        return resolve(NmtTrainConfig, [recommended(TRANSLATOR_DATA, task="nmt"), own, changes])

    def _own(self, data: str) -> dict[str, Any]:
        return {"data": {"name": data, "offline": self.offline}, "compute": self.compute}

    def published(self, arch: str) -> TrainResult:
        """Train as the assignment does, and keep the snapshots of its figures."""
        changes = {
            "model": {"arch": arch},
            "loop": {"epochs": self.sizes.epochs},
            "snapshots": list(self.sizes.snapshots),
        }
        return self.train(f"vae-{arch}", changes)

    def train(self, label: str, changes: Mapping[str, Any]) -> TrainResult:
        """Train a VAE, or go on with it, or find its result."""
        return self._trained(label, self.vae_config(changes), train_vae)

    def train_translator(self, label: str, changes: Mapping[str, Any]) -> RunFolder:
        """Train a translator, or go on with it, or find it done."""
        return RunFolder(Path(self._trained(label, self.translator_config(changes), train_nmt).run))

    def _trained(self, label: str, config: RunConfig, train: Train[R]) -> R:
        folder = self.folder(label, config)
        if (folder / "config.yaml").is_file():
            location = RunLocation(resume=folder)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            location = RunLocation(out=folder)
        result = train_once(config, train=train, location=location, listeners=self.listeners)
        if result is None:  # of several processes only the first has results
            raise RunFailed("A report is made by one process.", hint="Start it without torchrun.")
        return result

    def folder(self, label: str, config: RunConfig) -> Path:
        """Return where a training with these settings, by this code, belongs."""
        return self.runs / f"{label}-{digest([package_stamp(), to_dict(config)])}"


def _packaged(name: str) -> RunFolder:
    folder = pretrained.folder(name)
    if folder is None:
        raise RunFailed(f"No model '{name}' ships with this package.", hint="Use --full.")
    return RunFolder(folder)


def shown_path(run: RunFolder) -> str:
    """Return a run's folder as one types it: from the working folder, where it lies below."""
    here = Path.cwd()
    return str(run.path.relative_to(here) if run.path.is_relative_to(here) else run.path)


def stored_result(run: RunFolder) -> Mapping[str, Any]:
    """Return the `result` of run.json; nothing where there is none."""
    found = run.record().get("result")
    return found if isinstance(found, Mapping) else {}


def stored_signature(run: RunFolder) -> str:
    """Return the signature of the stored metrics."""
    return str(stored_result(run).get("signature") or run.record().get("signature") or "")


def stored_test(run: RunFolder) -> Mapping[str, float] | None:
    """Return what a VAE came to on its test images, or None where that was not stored."""
    found = stored_result(run).get("test")
    if not isinstance(found, Mapping) or not {"elbo", "reconstruction", "kl"} <= set(found):
        return None
    return found


def digest(value: object) -> str:
    """Return 16 hexadecimal digits that differ wherever two values differ."""
    return hashlib.sha256(to_json(value).encode()).hexdigest()[:16]


@functools.cache
def package_stamp() -> str:
    """Return the version of the package with a digest of its files: what decides all numbers."""
    package = Path(dlcli.__file__).parent
    files = [path for pattern in FILES for path in sorted(package.rglob(pattern))]
    contents = [
        (path.relative_to(package).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    ]
    return f"{dlcli.__version__}-{FORMAT}-{digest(contents)}"
