"""The settings of an evaluation."""

from __future__ import annotations

from typing import Any

import pytest

from dlcli.engine.config import keys, resolve
from dlcli.errors import ConfigError
from dlcli.evidence.diagnostics import FEWEST_SAMPLES
from dlcli.vae.config import VaeEvalConfig, VaeTrainConfig, check


def test_the_default_chains_can_be_trusted() -> None:
    assert resolve(VaeEvalConfig, [{}]).ais_chains >= 2 * FEWEST_SAMPLES


def config(**sections: Any) -> VaeTrainConfig:
    return resolve(VaeTrainConfig, [sections])


def test_the_defaults_pass_the_check() -> None:
    check(config())


def test_every_flag_is_used_once() -> None:
    flags = [key.flag for key in keys(VaeTrainConfig) if key.flag]
    assert len(flags) == len(set(flags))
    assert all(key.help for key in keys(VaeTrainConfig))


@pytest.mark.parametrize(
    ("sections", "names"),
    [
        ({"objective": {"k": 5}}, "--k 5"),
        ({"objective": {"objective": "iwae", "beta": 2.0}}, "--beta 2"),
        ({"objective": {"objective": "iwae", "beta_warmup_epochs": 3}}, "--beta-warmup"),
        ({"objective": {"objective": "iwae", "free_bits": 0.1}}, "--free-bits"),
        (
            {
                "objective": {"likelihood": "continuous-bernoulli"},
                "data": {"binarize": "dynamic"},
            },
            "--binarize",
        ),
        ({"objective": {"backward_samples": 2}}, "--backward-samples 2"),
        (
            {"objective": {"objective": "iwae", "k": 3, "backward_samples": 4}},
            "--backward-samples 4",
        ),
        (
            {
                "objective": {"objective": "iwae", "k": 3, "backward_samples": 2},
                "model": {"arch": "conv"},
            },
            "--norm batch",
        ),
        ({"model": {"skip": True}}, "--skip"),
        ({"model": {"prior": "flow"}}, "--prior flow"),
        ({"model": {"arch": "conv", "skip": True}, "objective": {"objective": "iwae"}}, "--skip"),
        ({"loop": {"patience": 3}}, "--patience 3"),
    ],
)
def test_contradictions_name_the_flag_and_a_way_out(sections: Any, names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(config(**sections))
    assert names in caught.value.message
    assert caught.value.hint.endswith(".")
