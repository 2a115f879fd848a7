"""The settings of an alignment, and the names they share with what does the work."""

from __future__ import annotations

import pytest

from dlcli.engine.config import choices_of, keys, resolve
from dlcli.errors import ConfigError
from dlcli.nmt.forced_attention import KINDS
from dlcli.nmt.symmetrize import COMBINATIONS, HEURISTICS
from dlcli.study.nmt_align_config import NmtAlignConfig


def test_choices_are_those_of_the_code() -> None:
    found = {key.path: choices_of(key.type) for key in keys(NmtAlignConfig)}
    assert found["heuristic"] == HEURISTICS
    assert found["combine"] == COMBINATIONS
    assert set(found["links_from"]) == set(KINDS)


@pytest.mark.parametrize(
    "wrong", [{"gold_index": 2}, {"heuristic": "any"}, {"shift": 1}, {"threshold": 1.0}, {"x": 1}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        resolve(NmtAlignConfig, [wrong])
