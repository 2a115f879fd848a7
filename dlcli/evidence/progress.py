"""How far a long estimate is, reported on the way to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

from dlcli.engine.events import ProgressCallback

CountCallback = Callable[[int], object]
"""Is called with how many samples or moves have been made since the last call."""


def count_progress(total: int, *, stage: str, progress: ProgressCallback) -> CountCallback:
    """Turn counts into a growing fraction of `total`; the stage begins with 0."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        progress(min(1.0, done / total), stage)

    add(0)
    return add


def part_of(progress: ProgressCallback, *, start: float, share: float) -> ProgressCallback:
    """Report a part of a whole, which begins at `start` and is `share` of it."""
    return lambda done, stage: progress(start + done * share, stage)
