"""The translator's settings: what they are by default, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from dlcli.engine.config import keys, resolve
from dlcli.engine.settings import LoopConfig, OptimConfig
from dlcli.errors import ConfigError, UsageFault
from dlcli.nmt.config import (
    WIDEST,
    NmtAlignConfig,
    NmtEvalConfig,
    NmtLoopConfig,
    NmtOptimConfig,
    NmtTrainConfig,
    SearchConfig,
    check,
    check_align,
    check_search,
)
from dlcli.nmt.forcing import forcing_cells
from tests.nmt.toy import make_config


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"model": {"readout_size": 7, "embedding": 5}}, "--readout-size 7"),
        ({"model": {"attention": "none", "attention_query": "previous"}}, "--attention-query"),
        ({"loop": {"average": 1}}, "--average 1"),
        ({"model": {"norm": "post"}}, "--norm has no meaning for --arch gru"),
        ({"model": {"arch": "transformer", "attention": "none"}}, "--attention has no meaning"),
        ({"model": {"arch": "transformer", "layers": [3, 2, 1]}}, "--layers has 3 numbers"),
        ({"model": {"arch": "transformer", "layers": []}}, "--layers has 0 numbers"),
        ({"model": {"arch": "transformer", "heads": 5}}, "among 5 heads"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        check(resolve(NmtTrainConfig, [settings]))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (NmtTrainConfig, {"model": {"dropout_context": 1.0}}),
        (NmtTrainConfig, {"objective": {"teacher_forcing": 1.5}}),
        (NmtTrainConfig, {"data": {"vocabulary": 0}}),
        (NmtTrainConfig, {"loop": {"batch_size": 0}}),
        (NmtTrainConfig, {"loop": {"batch_unit": "words"}}),
        (NmtTrainConfig, {"optim": {"lr": 0.0}}),
        (SearchConfig, {"batch_size": 0}),
        (SearchConfig, {"max_length": -1}),
        (SearchConfig, {"beam": 3}),
        (NmtAlignConfig, {"gold_index": 2}),
        (NmtAlignConfig, {"heuristic": "any"}),
        (NmtAlignConfig, {"shift": 1}),
        (NmtAlignConfig, {"threshold": 1.0}),
        (NmtEvalConfig, {"resamples": 0}),
        (NmtEvalConfig, {"bins": [0]}),
        (NmtEvalConfig, {"split": None}),
    ],
)
def test_what_has_no_meaning_is_refused(kind: type[Any], settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        resolve(kind, [settings])


def test_every_shared_setting_stays_a_setting_with_a_flag_of_its_own() -> None:
    for own, shared in ((NmtLoopConfig, LoopConfig), (NmtOptimConfig, OptimConfig)):
        assert {key.path for key in keys(shared)} <= {key.path for key in keys(own)}
    flags = [key.flag for key in keys(NmtTrainConfig) if key.flag]
    assert len(flags) == len(set(flags))


def test_only_attention_can_be_shifted() -> None:
    assert NmtAlignConfig().kind == "posterior"
    shifted = NmtAlignConfig(shift=True)
    assert shifted.kind == "attention"
    check_align(shifted, symmetrized=False)
    with pytest.raises(ConfigError, match="--shift"):
        check_align(NmtAlignConfig(shift=True, links_from="posterior"), symmetrized=False)


def test_what_joins_directions_needs_two() -> None:
    config = NmtAlignConfig(heuristic="union", combine="product")
    check_align(config, symmetrized=True)
    with pytest.raises(ConfigError, match="--heuristic union"):
        check_align(config, symmetrized=False)


def test_cells_differ_in_the_ratio_alone() -> None:
    config = make_config()
    cells = forcing_cells(config, [1, 0.5, 0, 0.5])
    assert list(cells) == ["forcing-1", "forcing-0.5", "forcing-0"]
    for cell, ratio in zip(cells.values(), (1, 0.5, 0), strict=True):
        assert cell.objective.teacher_forcing == ratio
        objective = dataclasses.replace(cell.objective, teacher_forcing=1.0)
        assert dataclasses.replace(cell, objective=objective) == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "A beam of 0 holds no"),
        ({"beam_size": WIDEST + 1}, f"A beam of {WIDEST + 1:,} is wider"),
        ({"beam_size": 2, "n_best": 3}, "cannot give the 3 best"),
        ({"n_best": 0}, "cannot give the 0 best"),
        ({"length_penalty": -1.0}, "length penalty of -1"),
        ({"length_penalty": math.nan}, "length penalty of nan"),
    ],
)
def test_a_search_without_a_meaning_is_refused(options: dict[str, Any], message: str) -> None:
    n_best = options.pop("n_best", 1)
    with pytest.raises(UsageFault, match=message) as caught:
        check_search(SearchConfig(**options), n_best=n_best)
    assert "Use --" in caught.value.hint
