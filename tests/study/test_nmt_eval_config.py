"""The settings of an evaluation."""

from __future__ import annotations

import pytest

from dlcli.engine.config import resolve
from dlcli.errors import ConfigError
from dlcli.nmt.config import NmtEvalConfig


def test_the_defaults_are_a_beam_of_five_on_the_test_split() -> None:
    config = resolve(NmtEvalConfig, [{}])
    assert (config.split, config.search.beam_size, config.data) == ("test", 5, None)
    assert config.resamples == 1000
    assert list(config.bins) == sorted(config.bins)


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"bins": [0]}, {"beam": 5}, {"split": None}])
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        resolve(NmtEvalConfig, [wrong])
