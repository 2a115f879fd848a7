"""Events are values: frozen, named fields only."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from dlcli.engine import events


def _all() -> list[type[events.Event]]:
    found = [kind for _, kind in inspect.getmembers(events, inspect.isclass)]
    return [kind for kind in found if issubclass(kind, events.Event)]


def test_every_event_is_a_frozen_value_with_named_fields() -> None:
    assert len(_all()) >= 9
    for kind in _all():
        assert dataclasses.is_dataclass(kind)
        assert all(field.kw_only for field in dataclasses.fields(kind)), kind


def test_an_event_cannot_be_changed_by_a_listener() -> None:
    notice = events.Notice(message="x")
    assert notice.level == "info"
    with pytest.raises(dataclasses.FrozenInstanceError):
        notice.message = "y"  # type: ignore[misc]
