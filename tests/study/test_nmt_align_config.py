"""The settings of an alignment, and the names they share with what does the work."""

from __future__ import annotations

import pytest

from dlcli.engine.config import choices_of, keys, resolve
from dlcli.errors import ConfigError
from dlcli.nmt.alignment import COMBINATIONS, HEURISTICS, KINDS
from dlcli.nmt.config import NmtAlignConfig
from dlcli.nmt.config import check_align as check


def test_choices_are_those_of_the_code() -> None:
    found = {key.path: choices_of(key.type) for key in keys(NmtAlignConfig)}
    assert found["heuristic"] == HEURISTICS
    assert found["combine"] == COMBINATIONS
    assert set(found["links_from"]) == {"auto", *KINDS}


def test_only_attention_can_be_shifted() -> None:
    assert NmtAlignConfig().kind == "posterior"
    shifted = NmtAlignConfig(shift=True)
    assert shifted.kind == "attention"
    check(shifted, symmetrized=False)
    with pytest.raises(ConfigError, match="--shift"):
        check(NmtAlignConfig(shift=True, links_from="posterior"), symmetrized=False)


def test_what_joins_directions_needs_two() -> None:
    config = NmtAlignConfig(heuristic="union", combine="product")
    check(config, symmetrized=True)
    with pytest.raises(ConfigError, match="--heuristic union"):
        check(config, symmetrized=False)


@pytest.mark.parametrize(
    "wrong", [{"gold_index": 2}, {"heuristic": "any"}, {"shift": 1}, {"threshold": 1.0}, {"x": 1}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        resolve(NmtAlignConfig, [wrong])
