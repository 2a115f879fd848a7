"""Assignments and grids of them."""

from __future__ import annotations

import pytest

from dlcli.cli import options as lists
from dlcli.cli.options import grid_of, parse_assignments
from dlcli.errors import ConfigError


def test_grids_of_odd_words() -> None:
    assert grid_of(None) == {"": {}}
    assert grid_of("name=a b,c") == {"name=a b": {"name": "a b"}, "name=c": {"name": "c"}}
    with pytest.raises(ConfigError, match="--set cannot read 'lr'"):
        grid_of("lr")


def test_assignments_are_merged_into_groups() -> None:
    text = lists.SEPARATOR.join(["a.b=1", "a.c={d: 2}", "a.c.e=x=y", "f="])
    assert parse_assignments(text) == {"a": {"b": 1, "c": {"d": 2, "e": "x=y"}}, "f": None}
    assert parse_assignments(None) == parse_assignments("") == {}


@pytest.mark.parametrize("text", ["a=" + "[" * 900, "a=" + "[" * 900 + "]" * 900, "a=[&a [*a, *a"])
def test_brackets_and_dots_beyond_reason_are_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot read the value") as caught:
        parse_assignments(text)
    assert len(caught.value.message) < 150
