"""Small VAEs and images that every test of this folder may use."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from dlcli.engine.config import resolve, to_dict
from dlcli.engine.runs import RunFolder
from dlcli.engine.seed import generator
from dlcli.engine.session import RunLocation
from dlcli.vae.config import VaeModelConfig, VaeTrainConfig
from dlcli.vae.likelihood import LikelihoodName, likelihood_named
from dlcli.vae.networks import VAE, build_model
from dlcli.vae.trained import Trained, load_trained
from dlcli.vae.training import train


def make_vae(*, latent_dim: int = 3, hidden: int = 7, seed: int = 0, flow: bool = False) -> VAE:
    """Build a small MLP VAE, the same for the same seed; with `flow` its prior is learned."""
    torch.manual_seed(seed)
    prior = "flow" if flow else "normal"
    vae = build_model(VaeModelConfig(latent_dim=latent_dim, hidden=(hidden,), prior=prior))
    if vae.flow is not None:
        for parameter in vae.flow.parameters():
            torch.nn.init.normal_(parameter, std=0.1)  # not the identity
    return vae


def with_pixels(trained: Trained, *, binarize: str, likelihood: LikelihoodName) -> Trained:
    """Say that a run was trained on other pixels, by another likelihood."""
    changed = {"data": {"binarize": binarize}, "objective": {"likelihood": likelihood}}
    config = resolve(VaeTrainConfig, [to_dict(trained.config), changed])
    model = copy.copy(trained.model)
    model.likelihood = likelihood_named(likelihood, channels=1)
    return dataclasses.replace(trained, config=config, model=model)


@pytest.fixture
def images() -> torch.Tensor:
    """Blurred blots, (53, 28, 28) uint8, with blank borders and grey edges."""
    stream = generator(0, "blots")
    centres = 8 + 12 * torch.rand(53, 2, 1, generator=stream)
    axis = torch.arange(28.0)
    near = torch.exp(-((axis - centres) ** 2) / 18)  # (53, 2, 28)
    blots = near[:, 0, :, None] * near[:, 1, None, :]
    return (255 * (1.4 * blots - 0.1).clamp(0, 1)).round().to(torch.uint8)


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
    for _ in train(resolve(VaeTrainConfig, [given]), location=RunLocation(out=folder)):
        pass
    return RunFolder(folder)


@pytest.fixture
def trained(binary_run: RunFolder) -> Trained:
    """The model of that run."""
    return load_trained(binary_run)


@pytest.fixture
def flowed(trained: Trained) -> Trained:
    """The same run with an untrained model of two latents, whose prior is no Gaussian."""
    return dataclasses.replace(trained, model=make_vae(latent_dim=2, flow=True).eval())
