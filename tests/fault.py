"""A fault made on purpose; see `tests.mutants`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A module of a room, a piece of its text that is there once, and what stands instead."""

    module: str
    old: str
    new: str
