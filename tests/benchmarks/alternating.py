"""Timing several sides in turn: a machine drifts, so only what ran alternately can be compared."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from dlcli.engine.device import bf16_is_native

LAST_LINES = 30


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


def run_program(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, hint: str = ""
) -> None:
    """Run a program without showing what it says, unless it fails: then its last lines are shown.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run(
        command, check=False, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        lines = done.stdout.decode(errors="replace").splitlines()[-LAST_LINES:]
        ended = f"{' '.join(command)} ended with {done.returncode}"
        sys.exit("\n".join([f"{ended}; it said:", *lines, *filter(None, [hint])]))


def precisions() -> tuple[Literal["fp32", "bf16"], ...]:
    """Return the precisions worth timing: bfloat16 only where the processor multiplies it."""
    return ("fp32", "bf16") if bf16_is_native(torch.device("cpu")) else ("fp32",)
