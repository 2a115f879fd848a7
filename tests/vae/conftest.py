"""Small VAEs and images that every test of this room may use."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dlcli.engine.seed import generator
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.networks import VAE, build_model

MakeVae = Callable[..., VAE]


@pytest.fixture
def make_vae() -> MakeVae:
    """Build a small MLP VAE, the same for the same seed: `make_vae(latent_dim=3, seed=0)`.

    With `flow` its prior is learned, and not the identity.
    """

    def make(*, latent_dim: int = 3, hidden: int = 7, seed: int = 0, flow: bool = False) -> VAE:
        torch.manual_seed(seed)
        prior = "flow" if flow else "normal"
        vae = build_model(VaeModelConfig(latent_dim=latent_dim, hidden=(hidden,), prior=prior))
        if vae.flow is not None:
            for parameter in vae.flow.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
        return vae

    return make


@pytest.fixture
def images() -> torch.Tensor:
    """Blurred blots, (53, 28, 28) uint8, with blank borders and grey edges."""
    stream = generator(0, "blots")
    centres = 8 + 12 * torch.rand(53, 2, 1, generator=stream)
    axis = torch.arange(28.0)
    near = torch.exp(-((axis - centres) ** 2) / 18)  # (53, 2, 28)
    blots = near[:, 0, :, None] * near[:, 1, None, :]
    return (255 * (1.4 * blots - 0.1).clamp(0, 1)).round().to(torch.uint8)
