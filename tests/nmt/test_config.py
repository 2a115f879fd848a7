""""""

from __future__ import annotations

from typing import Any, get_args

import pytest

from dlcli.engine.config import keys, resolve
from dlcli.engine.settings import LoopConfig, OptimConfig, Precision
from dlcli.errors import ConfigError
from dlcli.nmt.config import (
    NmtAlignConfig,
    NmtEvalConfig,
    NmtLoopConfig,
    NmtOptimConfig,
    NmtTrainConfig,
    SearchConfig,
    check,
)
from dlcli.nmt.config import check_align as check_of_nmt_align_config
from dlcli.nmt.networks import build_model


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


# -- The settings of a search are refused where they are wrong, with a way out


def test_defaults_are_a_beam_of_five_normalised_by_length() -> None:
    config = resolve(SearchConfig, [])
    assert (config.beam_size, config.length_penalty, config.max_length) == (5, 1.0, 0)


def test_it_knows_one_precision_more_than_a_training() -> None:
    (found,) = (key.choices for key in keys(SearchConfig) if key.path == "precision")
    assert found == (*get_args(Precision), "int8")


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"max_length": -1}, {"beam": 3}])
def test_what_has_no_meaning_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        resolve(SearchConfig, [wrong])


# -- The settings of an alignment, and the names they share with what does the work


def test_only_attention_can_be_shifted() -> None:
    assert NmtAlignConfig().kind == "posterior"
    shifted = NmtAlignConfig(shift=True)
    assert shifted.kind == "attention"
    check_of_nmt_align_config(shifted, symmetrized=False)
    with pytest.raises(ConfigError, match="--shift"):
        check_of_nmt_align_config(
            NmtAlignConfig(shift=True, links_from="posterior"), symmetrized=False
        )


def test_what_joins_directions_needs_two() -> None:
    config = NmtAlignConfig(heuristic="union", combine="product")
    check_of_nmt_align_config(config, symmetrized=True)
    with pytest.raises(ConfigError, match="--heuristic union"):
        check_of_nmt_align_config(config, symmetrized=False)


@pytest.mark.parametrize(
    "wrong", [{"gold_index": 2}, {"heuristic": "any"}, {"shift": 1}, {"threshold": 1.0}, {"x": 1}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        resolve(NmtAlignConfig, [wrong])


# -- The settings of an evaluation


def test_the_defaults_are_a_beam_of_five_on_the_test_split() -> None:
    config = resolve(NmtEvalConfig, [{}])
    assert (config.split, config.search.beam_size, config.data) == ("test", 5, None)
    assert config.resamples == 1000
    assert list(config.bins) == sorted(config.bins)


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"bins": [0]}, {"beam": 5}, {"split": None}])
def test_nmt_eval_config_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        resolve(NmtEvalConfig, [wrong])
