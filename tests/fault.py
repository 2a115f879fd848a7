"""A fault made on purpose; see `tests.mutants`."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """A module of a room, a piece of its text that is there once, and what stands instead."""

    module: str
    old: str
    new: str
