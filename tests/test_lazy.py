"""Rooms that load their names on demand."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest

from dlcli.lazy import exports


@pytest.fixture
def room() -> Iterator[types.ModuleType]:
    module = types.ModuleType("a_room")
    names = {"sqrt": "math", "Fraction": "fractions", "missing": "math", "lost": "no_such_module"}
    module.__dict__.update(
        zip(("__getattr__", "__dir__", "__all__"), exports("a_room", names), strict=True)
    )
    sys.modules["a_room"] = module
    yield module
    del sys.modules["a_room"]


def test_a_name_is_what_its_module_defines(room: types.ModuleType) -> None:
    from fractions import Fraction

    assert room.Fraction is Fraction


def test_a_name_is_looked_up_once(room: types.ModuleType) -> None:
    assert "sqrt" not in vars(room)
    first = room.sqrt
    assert vars(room)["sqrt"] is first


def test_the_room_lists_its_names(room: types.ModuleType) -> None:
    assert dir(room) == room.__all__ == ["Fraction", "lost", "missing", "sqrt"]


def test_an_unknown_name_is_an_attribute_error(room: types.ModuleType) -> None:
    with pytest.raises(AttributeError, match="module 'a_room' has no attribute 'nothing'"):
        _ = room.nothing
    assert not hasattr(room, "nothing")


def test_a_name_that_its_module_lacks_is_an_error(room: types.ModuleType) -> None:
    with pytest.raises(AttributeError, match="math"):
        _ = room.missing
    with pytest.raises(ModuleNotFoundError):
        _ = room.lost
