"""Run folders of translators that were never trained: for what does not depend on their quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dlcli.engine.checkpoint import save_checkpoint
from dlcli.engine.config import dump_yaml, resolve, to_dict
from dlcli.engine.runs import RunFolder
from dlcli.nmt.config import NmtTrainConfig
from dlcli.nmt.model import NmtNetwork
from dlcli.nmt.networks import build_model
from dlcli.nmt.tokenizer import Subwords
from dlcli.nmt.trained import KIND, Trained, load_trained
from tests.nmt.sentences import pairs


def write_run(
    folder: Path, *, data: str = "toy", direction: str = "en-fr", seed: int = 0, **model: Any
) -> Path:
    """Write a run folder with random weights, large enough for attention to be far from even."""
    sizes = {"embedding": 6, "encoder_hidden": 5, "hidden": 7, "attention_size": 3}
    given: dict[str, Any] = {
        "data": {"name": data, "direction": direction},
        "model": {**sizes, **model},
        "compute": {"device": "cpu", "precision": "fp32"},
    }
    config = resolve(NmtTrainConfig, [given])
    found = pairs(0, 60)
    tokenizer = Subwords.learn([*found.source, *found.target], size=330)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = NmtNetwork(
            build_model(config.model, vocabulary=tokenizer.size), label_smoothing=0.1
        )
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True)
    run.figures.mkdir()
    run.config_file.write_text(dump_yaml(config))
    run.update_record(kind=KIND, status="done")
    tokenizer.save(folder)
    state = {"config": to_dict(config), "model": network.state_dict()}
    save_checkpoint(run.checkpoint(), state, kind=KIND)
    return folder


def tiny_trained(folder: Path, **settings: Any) -> Trained:
    """Write such a run and read it back."""
    return load_trained(RunFolder(write_run(folder, **settings)))
