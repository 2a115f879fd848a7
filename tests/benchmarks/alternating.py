"""Timing several sides in turn: a machine drifts, so only what ran alternately can be compared."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping


def alternate(sides: Mapping[str, Callable[[], float]], *, runs: int) -> dict[str, list[float]]:
    """Run every side once, then all again, `runs` times; the first round of all is not counted.

    Args:
        sides: name → a function that runs once and returns its own measurement.
        runs: counted rounds.
    """
    for side in sides.values():
        side()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, side in sides.items():
            found[name].append(side())
    return found


def report(found: Mapping[str, list[float]], *, unit: str, against: str, faster: bool) -> None:
    """Print the median of each side, its range, and its ratio to the side `against`.

    Args:
        found: what `alternate` returned.
        unit: of the measurements.
        against: the side that the others are held against.
        faster: whether a larger number is the better one, so that the ratio says how much faster.
    """
    medians = {name: statistics.median(values) for name, values in found.items()}
    width = max(map(len, found))
    for name, values in found.items():
        ratio = medians[name] / medians[against]
        print(
            f"{name:{width}}  median {medians[name]:10,.4g} {unit}  "
            f"({min(values):,.4g} to {max(values):,.4g}, {len(values)} runs)  "
            f"{ratio:5.2f} x {against}" + ("" if faster else " (lower is better)"),
            flush=True,
        )
