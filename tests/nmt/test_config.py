from __future__ import annotations

from typing import Any

import pytest

from dlcli.engine.config import keys, resolve
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.errors import ConfigError
from dlcli.nmt.config import NmtLoopConfig, NmtOptimConfig, NmtTrainConfig, check
from dlcli.nmt.model import build_model


def test_the_defaults_make_about_ten_million_parameters() -> None:
    config = NmtTrainConfig()
    check(config)
    model = build_model(config.model, vocabulary=config.data.vocabulary)
    assert 9e6 < sum(parameter.numel() for parameter in model.parameters()) < 11e6


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"model": {"readout_size": 7, "embedding": 5}}, "--readout-size 7"),
        ({"model": {"attention": "none", "attention_query": "previous"}}, "--attention-query"),
        ({"loop": {"average": 1}}, "--average 1"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        check(resolve(NmtTrainConfig, [settings]))


@pytest.mark.parametrize(
    "settings",
    [
        {"model": {"readout_size": 7, "tie_embeddings": False}},
        {"model": {"attention": "none"}},
        {"loop": {"average": 2}},
    ],
)
def test_what_makes_sense_passes(settings: dict[str, Any]) -> None:
    check(resolve(NmtTrainConfig, [settings]))


@pytest.mark.parametrize(
    "settings",
    [
        {"model": {"dropout_context": 1.0}},
        {"objective": {"teacher_forcing": 1.5}},
        {"data": {"vocabulary": 0}},
        {"loop": {"batch_size": 0}},
        {"loop": {"batch_unit": "words"}},
        {"optim": {"lr": 0.0}},
    ],
)
def test_values_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        resolve(NmtTrainConfig, [settings])


def test_flags_are_one_each() -> None:
    flags = [key.flag for key in keys(NmtTrainConfig) if key.flag]
    assert len(flags) == len(set(flags))


def test_every_shared_setting_stays_a_setting() -> None:
    for own, shared in ((NmtLoopConfig, LoopConfig), (NmtOptimConfig, OptimConfig)):
        assert {key.path for key in keys(shared)} <= {key.path for key in keys(own)}
