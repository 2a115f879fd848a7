"""The settings of a search are refused where they are wrong, with a way out."""

from __future__ import annotations

from typing import get_args

import pytest

from dlcli.engine.config import keys, resolve
from dlcli.engine.settings import Precision
from dlcli.errors import ConfigError
from dlcli.nmt.config import SearchConfig


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
