""""""

from __future__ import annotations

import subprocess
import sys

import pytest

from dlcli.engine.config import dump_yaml, keys, resolve
from dlcli.errors import ConfigError
from dlcli.layernorm.config import (
    SOURCES,
    LnGradientsConfig,
    Placement,
    StackConfig,
    stack_weights,
    validate,
)


def config(**layers: object) -> LnGradientsConfig:
    return resolve(LnGradientsConfig, [layers])


def test_defaults_are_valid_and_survive_yaml(tmp_path):
    import yaml

    validate(LnGradientsConfig())
    again = resolve(LnGradientsConfig, [yaml.safe_load(dump_yaml(LnGradientsConfig()))])
    assert again == LnGradientsConfig()


def test_importing_the_config_imports_neither_torch_nor_pydantic():
    code = "import dlcli.layernorm.config, sys; print({'torch', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_setting_has_help_and_no_flag_is_used_twice():
    found = list(keys(LnGradientsConfig))
    assert all(key.help for key in found)
    flags = [key.flag for key in found if key.flag]
    assert len(flags) == len(set(flags))


def test_every_placement_names_its_source():
    assert set(SOURCES) == set(Placement.__args__)


@pytest.mark.parametrize("depths", [[0, 2], [-1, 2], [1.5, 2]])
def test_a_depth_that_is_no_count_is_refused(depths):
    with pytest.raises(ConfigError, match=r"sweep\.depths"):
        config(sweep={"depths": depths})


@pytest.mark.parametrize("depths", [[1], [8], [8, 8]])
def test_one_depth_has_no_slope(depths):
    with pytest.raises(ConfigError, match="has no slope"):
        validate(config(sweep={"depths": depths}))


@pytest.mark.parametrize(("width", "reason"), [(1, "one feature"), (2, "two features")])
def test_widths_that_layernorm_flattens_are_refused_with_the_reason(width, reason):
    with pytest.raises(ConfigError, match=reason):
        validate(config(sweep={"widths": [256, width]}))
    with pytest.raises(ConfigError, match="--equations-width"):
        validate(config(equations=True, exact={"width": width}))


@pytest.mark.parametrize("name", ["placements", "depths", "widths"])
def test_empty_lists_are_refused(name):
    with pytest.raises(ConfigError, match=f"--{name} is empty"):
        validate(config(sweep={name: []}))


def test_lists_of_unequal_length_are_a_grid():
    validate(config(sweep={"depths": [1, 2, 4], "widths": [8, 16]}))


def test_heads_must_divide_the_widths_where_there_are_heads():
    sizes = {"widths": [10]}
    validate(config(sweep=sizes))
    with pytest.raises(ConfigError, match="--heads 4 does not divide --widths 10"):
        validate(config(sweep=sizes, stack={"regime": "transformer"}))
    with pytest.raises(ConfigError, match="--train-width 10"):
        validate(config(train=True, training={"width": 10}))


def test_full_jacobians_have_a_limit():
    with pytest.raises(ConfigError, match="squares"):
        validate(config(equations=True, exact={"width": 512, "tokens": 64}))


def test_an_unknown_placement_gets_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        config(sweep={"placements": ["sandwhich"]})
    assert "sandwich" in caught.value.hint


@pytest.mark.parametrize("regime", ["theorem", "transformer"])
def test_stacks_that_fit_nowhere_are_refused_before_any_work(regime):
    with pytest.raises(ConfigError, match="billion weights"):
        validate(config(sweep={"depths": [2, 4096], "widths": [16_384]}, stack={"regime": regime}))


@pytest.mark.parametrize("regime", ["theorem", "transformer"])
def test_weights_are_counted_as_they_are_made(regime):
    import torch

    from dlcli.layernorm.stack import build_stack

    made = build_stack(
        "post", depth=3, width=8, config=StackConfig(regime=regime), generator=torch.Generator()
    )
    matrices = sum(p.numel() for p in made.parameters() if p.dim() == 2)
    assert stack_weights(StackConfig(regime=regime), depth=3, width=8) == matrices
