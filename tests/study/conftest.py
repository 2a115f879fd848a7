"""A small trained VAE that every test of this room may use."""

from __future__ import annotations

from typing import Any

import pytest

from dlcli.engine.config import resolve
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import Place
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.trained import Trained, load_trained
from dlcli.vae.training import train


@pytest.fixture(scope="session")
def binary_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A VAE trained for two epochs on a few binarised glyphs; 20 test digits."""
    folder = tmp_path_factory.mktemp("vae") / "run"
    given: dict[str, Any] = {
        "data": {"name": "glyphs:100", "binarize": "dynamic"},
        "model": {"latent_dim": 3, "hidden": [7]},
        "loop": {"epochs": 2, "batch_size": 20},
        "compute": {"device": "cpu", "precision": "fp32"},
        "snapshots": [0, 2],
    }
    for _ in train(resolve(VaeTrainConfig, [given]), place=Place(out=folder)):
        pass
    return RunFolder(folder)


@pytest.fixture
def trained(binary_run: RunFolder) -> Trained:
    """The model of that run."""
    return load_trained(binary_run)
