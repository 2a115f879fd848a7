"""The settings of the variational auto-encoder's network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from dlcli.engine.config import STRICT, setting

Width = Annotated[int, Ge(1), Le(65_536)]


@dataclass(frozen=True, kw_only=True)
class VaeModelConfig:
    """Which network, and how large."""

    __pydantic_config__ = STRICT

    arch: Literal["mlp", "conv"] = setting(
        "mlp",
        flag="--arch",
        help="network: mlp (fully connected) or conv",
        source="seed, Questions 9, 11",
    )
    latent_dim: Annotated[int, Ge(1), Le(100_000)] = setting(
        20, flag="--latent-dim", help="latent dimensions D", source="seed, Question 9"
    )
    hidden: tuple[Width, ...] = setting(
        (350,),
        flag="--hidden",
        help="mlp: units of the hidden layers, encoder order",
        source="seed, Question 9",
    )
    channels: tuple[Width, ...] = setting(
        (16, 32, 64, 128),
        flag="--channels",
        help="conv: encoder feature maps at 28, 14, 7 and 3 pixels",
    )
    decoder_channels: tuple[Width, ...] = setting(
        (128, 64, 32),
        flag="--decoder-channels",
        help="conv: decoder feature maps at 4, 7 and 14 pixels",
    )
    norm: Literal["batch", "none"] = setting(
        "batch",
        flag="--norm",
        help="conv: normalisation after each convolution",
        source="seed, Question 11",
    )
    skip: bool = setting(
        False,
        flag="--skip/--no-skip",
        help="conv, demonstration only: skip connections, which let the network cheat",
        source="seed, Question 11",
    )
