"""Trainings of a translator that take a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dlcli.engine.config import merge, resolve
from dlcli.engine.events import Event
from dlcli.engine.session import RunLocation
from dlcli.nmt.batching import NmtData
from dlcli.nmt.config import NmtTrainConfig
from dlcli.nmt.tokenizer import Subwords
from dlcli.nmt.training import NmtLearner, NmtTask, train
from dlcli.nmt.validation import NmtResult
from tests.nmt.sentences import corpus, write_tsv

SETTINGS: dict[str, Any] = {
    "data": {"vocabulary": 330},
    "model": {
        "embedding": 7,
        "encoder_hidden": 5,
        "hidden": 9,
        "attention_size": 3,
        "dropout_embedding": 0.1,
    },
    "optim": {"lr": 0.01},
    "loop": {"epochs": 2, "batch_size": 12, "batch_unit": "sentences"},
    "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
}


def make_config(**settings: Any) -> NmtTrainConfig:
    """Return tiny settings, with some changed: `loop={"epochs": 3}`."""
    return resolve(NmtTrainConfig, [merge(SETTINGS, settings)])


def make_data(*, train: int = 40) -> NmtData:
    """Encode a few toy sentences."""
    found = corpus(train)
    source, target = list(found.train.source), list(found.train.target)
    tokenizer = Subwords.learn([*source, *target], size=330)
    return NmtData(
        name=found.name,
        tokenizer=tokenizer,
        source=tokenizer.encode_all(source),
        target=tokenizer.encode_all(target),
        valid=found.valid,
    )


def make_learner(*, train: int = 40, **settings: Any) -> NmtLearner:
    """Build a learner on toy sentences, always with the same weights."""
    torch.manual_seed(0)
    cpu, data = torch.device("cpu"), make_data(train=train)
    return NmtTask().build_learner(make_config(**settings), data, device=cpu)


def run_training(
    config: NmtTrainConfig, *, out: Path, resume: bool = False, init_from: str | None = None
) -> tuple[NmtResult | None, list[Event]]:
    """Train to the end; return the result and what happened."""
    location = RunLocation(resume=out) if resume else RunLocation(out=out)
    events, heard = train(config, location=location, init_from=init_from), []
    while True:
        try:
            heard.append(next(events))
        except StopIteration as end:
            return end.value, heard


def toy_file(folder: Path, *, count: int = 60) -> str:
    """Write a few toy pairs and return what `--data` calls them."""
    path = folder / "toy.tsv"
    write_tsv(path, count=count)
    return str(path)
