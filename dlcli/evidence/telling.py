"""How far an estimator is, told on the way to whoever asks."""

from __future__ import annotations

from collections.abc import Callable

Told = Callable[[int], object]
"""Hears how many samples or moves have been made since it was last called."""
Tell = Callable[[str, float], object]
"""Hears what is being done, in a word, and what fraction of it is there, 0 to 1."""


def unheard(*_anything: object) -> None:
    """Serve where nobody asks."""


def fraction_of(total: int, *, stage: str, tell: Tell) -> Told:
    """Turn counts into a growing fraction of `total`; the stage begins with 0."""
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        tell(stage, min(1.0, done / total))

    told(0)
    return told


def part(tell: Tell, *, start: float, share: float) -> Tell:
    """Tell of a part of a whole, which begins at `start` and is `share` of it."""
    return lambda stage, done: tell(stage, start + done * share)
