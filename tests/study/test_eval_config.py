"""The settings of an evaluation."""

from __future__ import annotations

import pytest

from dlcli.engine.config import resolve
from dlcli.errors import ConfigError
from dlcli.evidence.diagnostics import FEWEST_SAMPLES
from dlcli.vae.config import VaeEvalConfig


def test_the_defaults_are_the_literatures() -> None:
    config = resolve(VaeEvalConfig, [{}])
    assert (config.k, config.images, config.precision) == (5000, None, "fp32")
    assert (config.ais, config.judge, config.checkpoints) == (False, False, "none")
    assert config.judge_images == 10_000


def test_the_default_chains_can_be_trusted() -> None:
    assert resolve(VaeEvalConfig, [{}]).ais_chains >= 2 * FEWEST_SAMPLES


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"images": 0}, {"ais_chains": 1}, {"checkpoints": "some"}, {"kk": 5}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        resolve(VaeEvalConfig, [wrong])
