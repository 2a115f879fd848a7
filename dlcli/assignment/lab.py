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
from typing import Any, Literal, TypeVar

import torch

import dlcli
from dlcli import pretrained
from dlcli.data.catalogue import DATA_SETS, named, recommended
from dlcli.data.images import true_name
from dlcli.data.storage import find
from dlcli.display.console import to_json
from dlcli.engine.config import DataclassType, resolve, to_dict
from dlcli.engine.events import NoticeCallback
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import RunLocation
from dlcli.engine.trainer import Listener, Train, train_once
from dlcli.errors import RunFailed
from dlcli.nmt.config import NmtTrainConfig
from dlcli.nmt.trained import Trained as TrainedNmt
from dlcli.nmt.trained import load_trained as load_nmt
from dlcli.nmt.training import train as train_nmt
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.trained import Trained, TrainResult, load_trained
from dlcli.vae.training import train as train_vae


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Everything that differs between a quick and a full report."""

    mode: str
    trained_here: bool
    """Whether the large models are trained by the report instead of taken from the package."""
    train_data: str
    """What the VAE trainings of the report itself see: a data set, or `auto`."""
    epochs: int
    snapshots: tuple[int, ...]
    grid_images: int
    """Training images of a cell of Question 9's grid, of Question 6's and of Question 11's; 0 is
    all of the data set."""
    grid_epochs: int
    beta_epochs: int
    conv_images: int
    conv_epochs: int
    eval_images: int
    eval_k: int
    snapshot_images: int
    snapshot_k: int
    judge_images: int
    """Generated digits that a classifier reads; 0 trains no classifier."""
    gradient_images: int
    gradient_samples: int
    dims: tuple[int, ...]
    prior_samples: tuple[int, ...]
    kl_samples: int
    sentences: int
    """Test sentences that are translated and aligned; 0 is all of the split."""
    beam_size: int
    translator_data: str
    depths: tuple[int, ...]
    norm_seeds: int
    train_stacks: bool


QUICK = Sizes(
    mode="quick",
    trained_here=False,
    train_data="glyphs:5000",
    epochs=10,
    snapshots=(0, 2, 10),
    grid_images=0,
    grid_epochs=2,
    beta_epochs=5,
    conv_images=2000,
    conv_epochs=4,
    eval_images=100,
    eval_k=500,
    snapshot_images=200,
    snapshot_k=200,
    judge_images=0,
    gradient_images=32,
    gradient_samples=100,
    dims=(2, 20, 200),
    prior_samples=(10, 100, 1000, 10_000, 100_000, 1_000_000),
    kl_samples=100_000,
    sentences=1000,
    beam_size=1,
    translator_data="grammar",
    depths=(2, 4, 8, 16, 32, 64),
    norm_seeds=8,
    train_stacks=False,
)
"""Packaged models and the metrics stored with them, and small trainings on embedded digits."""

FULL = dataclasses.replace(
    QUICK,
    mode="full",
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


Need = Literal["vae", "nmt", "images", "sentences"]
"""What an answer depends on beside the settings: packaged models, and the data sets at hand."""
FORMAT = "2"
CODE = ("*.py", "*.cpp", "*.h", "*.yaml")
"""What an answer depends on beside its settings: the form it is kept in, and these files."""
STAND_IN = "glyphs:1000"
"""Drawn by the package itself: test images where a model's own cannot be had."""
TRANSLATOR = "nmt-grammar"
"""The packaged translator that questions are put to: of its sentences the links are known."""


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
            f"`{self.name}` was trained on {self.own} and is tested here on {data}: read these "
            f"numbers as those of a model away from home. Where {self.own} is on the machine "
            f"(`dl data fetch {self.own}`), `dl report` tests on it."
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
            machine, else `STAND_IN`; the network is not asked.
        offline: never ask the network, whatever is named.
        notice: told one sentence at a time.
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

    def inputs(self, needs: Sequence[Need]) -> dict[str, object]:
        """Return all that an answer with these needs is made from, the package's code aside."""
        found: dict[str, object] = {
            "sizes": self.sizes,
            "data": self.data,
            "seed": self.seed,
            "threads": self.threads,
            "device": self.device,
            "gpu": torch.cuda.is_available(),
            "compile": os.environ.get("DL_COMPILE", ""),
            "torch": torch.__version__,
            "matplotlib": version("matplotlib"),
        }
        if self.sizes.trained_here:
            found |= {"trained-on": self.train_images, "runs": str(self.runs)}
        for need in needs:
            if need in ("vae", "nmt") and not self.sizes.trained_here:
                folders = {name: pretrained.folder(name) or Path() for name in packaged(need)}
                found[need] = {
                    name: digest_of_files(folder, pattern="*") for name, folder in folders.items()
                }
        if "images" in needs:
            found["images"] = "mnist" if self.has("mnist") else STAND_IN
        if "sentences" in needs:
            found["sentences"] = [each.name for each in DATA_SETS if self.has(each.name)]
        return found

    def has(self, data: str) -> bool:
        """Say whether a data set is on this machine."""
        data_set = named(data)
        return data_set.name in ("glyphs", "grammar") or find(data_set) is not None

    @functools.cached_property
    def train_images(self) -> str:
        """The data set that VAEs are trained on, by its true name."""
        asked = self.sizes.train_data
        if self.sizes.trained_here and self.data != "auto":
            asked = self.data
        return true_name(asked, offline=self.offline, notice=self.notice)

    @functools.cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """Trained VAEs, the one that commands take by default first."""
        if self.sizes.trained_here:
            runs = [RunFolder(Path(self.published(arch).run)) for arch in ("conv", "mlp")]
            names = [shown_path(run) for run in runs]
        else:
            chosen = packaged("vae")
            names = [f"{pretrained.PREFIX}{name}" for name in chosen]
            runs = [RunFolder(pretrained.folder(name) or Path()) for name in chosen]
        return tuple(
            self.subject(load_trained(run), name=name)
            for run, name in zip(runs, names, strict=True)
        )

    def subject(self, trained: Trained, *, name: str) -> Subject:
        """Give a trained VAE images to be tested on."""
        own = trained.config.data.name
        if own == "auto":
            own = str(trained.run.record().get("result", {}).get("data", "mnist"))
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
        folder = pretrained.folder(TRANSLATOR)
        if folder is None:
            raise RunFailed("No translator ships with this package.", hint="Use --full.")
        return load_nmt(RunFolder(folder)), f"{pretrained.PREFIX}{TRANSLATOR}"

    def vae_config(self, changes: Mapping[str, Any]) -> VaeTrainConfig:
        """Return the settings of `dl vae train --data …` with these changes."""
        data = self.train_images
        base = {
            "data": {"name": data, "offline": self.offline},
            "compute": self.compute,
            "snapshots": [],
        }
        return resolve(VaeTrainConfig, [recommended(data, task="vae"), base, changes])

    def published(self, arch: str) -> TrainResult:
        """Train as the assignment does, and keep the snapshots of its figures."""
        changes = {
            "model": {"arch": arch},
            "loop": {"epochs": self.sizes.epochs},
            "snapshots": list(self.sizes.snapshots),
        }
        return self.train(f"vae-{arch}", self.vae_config(changes))

    def train(self, label: str, config: VaeTrainConfig) -> TrainResult:
        """Train a VAE, or give its result again, or go on where it was stopped.

        Raises:
            Interrupted: a signal came; the next report goes on from the last checkpoint.
        """
        location = _place(self.folder(label, config))
        found = train_once(config, train=train_vae, location=location, listeners=self.listeners)
        return _whole(found)

    def folder(self, label: str, config: DataclassType) -> Path:
        """Return where a training with these settings, by this code, belongs."""
        return self.runs / f"{label}-{digest([package_stamp(), to_dict(config)])}"

    def translator_config(self, changes: Mapping[str, Any]) -> NmtTrainConfig:
        """Return the settings of `dl nmt train --data …` with these changes."""
        data = self.sizes.translator_data
        base = {
            "data": {"name": data, "offline": self.offline},
            "compute": self.compute,
        }
        return resolve(NmtTrainConfig, [recommended(data, task="nmt"), base, changes])

    def train_translator(self, label: str, changes: Mapping[str, Any]) -> RunFolder:
        """Train a translator, or go on with it, or find it done."""
        config = self.translator_config(changes)
        location = _place(self.folder(label, config))
        train: Train[Any] = train_nmt
        found = _whole(train_once(config, train=train, location=location, listeners=self.listeners))
        return RunFolder(Path(found.run))


def packaged(kind: str) -> list[str]:
    """List the packaged models of a kind, the one that commands take by default first."""
    usual = pretrained.DEFAULTS.get(kind, "")
    names = [
        name
        for name in pretrained.names()
        if RunFolder(pretrained.folder(name) or Path()).record().get("kind") == kind
    ]
    return sorted(names, key=lambda name: (name != usual, name))


def shown_path(run: RunFolder) -> str:
    """Return a run's folder as one types it: from the working folder, where it lies below."""
    here = Path.cwd()
    return str(run.path.relative_to(here) if run.path.is_relative_to(here) else run.path)


def _place(folder: Path) -> RunLocation:
    """Return where a training goes: on with what is there, or into a new folder."""
    if (folder / "config.yaml").is_file():
        return RunLocation(resume=folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return RunLocation(out=folder)


R = TypeVar("R")


def _whole(result: R | None) -> R:
    """Refuse to be one of several processes, of which only the first has results.

    Raises:
        RunFailed: it is another.
    """
    if result is None:
        raise RunFailed("A report is made by one process.", hint="Start it without torchrun.")
    return result


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


def digest_of_files(folder: Path, *, pattern: str) -> str:
    """Return a digest of names and contents of the files in a folder and below it."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return found.hexdigest()[:16]


@functools.cache
def package_stamp() -> str:
    """Return the version of the package with a digest of its code: what decides all numbers."""
    package = Path(dlcli.__file__).parent
    code = digest([digest_of_files(package, pattern=pattern) for pattern in CODE])
    return f"{dlcli.__version__}-{FORMAT}-{code}"
