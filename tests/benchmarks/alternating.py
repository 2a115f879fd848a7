"""Timing several sides in turn: a machine drifts, so only what ran alternately can be compared."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Literal

import torch

from dlcli.engine.device import bf16_is_native


def compare(
    sides: Mapping[str, Callable[[], float]], *, runs: int, unit: str, against: str
) -> None:
    """Run every side once, then all again, and print their medians, ranges and ratios.

    Args:
        sides: name → a function that runs once and returns its own measurement.
        runs: counted rounds; one more comes first and is not counted.
        unit: of the measurements: a rate, such as `images/s`, or a time.
        against: the side that the others are held against.
    """
    for side in sides.values():
        side()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, side in sides.items():
            found[name].append(side())
    medians = {name: statistics.median(values) for name, values in found.items()}
    width = max(map(len, found))
    for name, values in found.items():
        print(
            f"{name:{width}}  median {medians[name]:10,.4g} {unit}  "
            f"({min(values):,.4g} to {max(values):,.4g}, {runs} runs)  "
            f"{medians[name] / medians[against]:5.2f} x {against}"
            + ("" if unit.endswith("/s") else " (lower is better)"),
            flush=True,
        )


def precisions() -> tuple[Literal["fp32", "bf16"], ...]:
    """Return the precisions worth timing: bfloat16 only where the processor multiplies it."""
    return ("fp32", "bf16") if bf16_is_native(torch.device("cpu")) else ("fp32",)
