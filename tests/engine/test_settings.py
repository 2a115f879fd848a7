"""The shared settings: valid defaults, flags that do not collide, limits that hold."""

from __future__ import annotations

from typing import Any

import pytest

from dlcli.engine.config import DataclassType, keys, resolve
from dlcli.engine.settings import ComputeConfig, LoopConfig, OptimConfig
from dlcli.errors import ConfigError

ALL: list[type[DataclassType]] = [ComputeConfig, OptimConfig, LoopConfig]


@pytest.mark.parametrize("cls", ALL)
def test_the_defaults_are_valid_by_their_own_rules(cls: type[DataclassType]) -> None:
    given = {key.path: key.default for key in keys(cls)}
    assert resolve(cls, [given]) == cls()


def test_every_setting_has_a_flag_of_its_own_and_a_meaning() -> None:
    found = [key for cls in ALL for key in keys(cls)]
    flags = [key.flag for key in found]
    assert all(flags)
    assert len(set(flags)) == len(flags)
    assert all(key.help and not key.help.endswith(".") for key in found)


@pytest.mark.parametrize(
    ("cls", "key", "value"),
    [
        (ComputeConfig, "seed", -1),
        (ComputeConfig, "seed", 2**63),
        (ComputeConfig, "threads", -1),
        (ComputeConfig, "precision", "fp16"),
        (OptimConfig, "lr", 0),
        (OptimConfig, "lr", -1e-3),
        (OptimConfig, "momentum", 1),
        (OptimConfig, "final_lr", 1.5),
        (OptimConfig, "warmup_steps", -1),
        (OptimConfig, "weight_decay", -1),
        (OptimConfig, "clip_norm", -1),
        (OptimConfig, "accumulate", 0),
        (OptimConfig, "optimizer", "adamw"),
        (LoopConfig, "epochs", -1),
        (LoopConfig, "batch_size", 0),
        (LoopConfig, "evaluate_every", 0),
        (LoopConfig, "patience", -1),
        (LoopConfig, "max_minutes", -1),
        (LoopConfig, "checkpoint_minutes", 0),
    ],
)
def test_values_out_of_range_are_refused(cls: type[DataclassType], key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"'{key}'"):
        resolve(cls, [{key: value}])
