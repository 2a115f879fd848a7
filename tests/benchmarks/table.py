"""One table for all benchmarks: what is compared, how it is timed, and a row for each result.

A machine drifts, so only what ran alternately can be compared: the sides take turns, and a row
gives their medians and ranges.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dlcli.engine.device import bf16_is_native
from dlcli.nmt.fast.compiling import available_forms, find_library

LAST_LINES = 30
COLUMNS = ("work", "`dl`", "unit", "peer", "its figure", "`dl`'s", "ratio", "features")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        folder: for trained weights and whatever else is written.
        runs: counted rounds.
        quick: the smallest sizes, and data that the package draws itself: figures mean nothing.
        joeynmt: the Python of an environment with JoeyNMT.
    """

    folder: Path
    runs: int = 5
    quick: bool = False
    joeynmt: Path = Path("joey/bin/python")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: of a peer, or the words of `dl`.
        run: runs once and returns its own measurement.
        features: what it uses of the processor, where that is not what `features` says.
    """

    name: str
    run: Callable[[], float]
    features: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Sides that do the same work.

    Attributes:
        work: in a few words.
        unit: of the measurements: a rate, such as `images/s`, or a time.
        sides: those of `dl`.
        peer: what they are held against; None where there is nothing like it, or not here.
        missing: why the peer is not here, and how to get it.
    """

    work: str
    unit: str
    sides: Sequence[Side]
    peer: Side | None = None
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One side of `dl` against the peer; `ratio` is that of the medians."""

    work: str
    command: str
    unit: str
    peer: str
    peer_values: list[float]
    values: list[float]
    ratio: float | None = field(init=False)
    features: str

    def __post_init__(self) -> None:
        there = bool(self.peer_values)
        ratio = statistics.median(self.values) / statistics.median(self.peer_values or [1])
        object.__setattr__(self, "ratio", ratio if there else None)

    def cells(self) -> list[str]:
        """Return the cells of the row, as `COLUMNS` names them."""
        ratio = "" if self.ratio is None else f"**{self.ratio:.2f}**"
        figures = [spread(self.peer_values), spread(self.values), ratio]
        return [self.work, f"`{self.command}`", self.unit, self.peer, *figures, self.features]


def spread(values: Sequence[float]) -> str:
    """Return the median and the range."""
    if not values:
        return ""
    middle, low, high = (
        f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} ({low} to {high})"


def line(cells: Sequence[str]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def measure(comparison: Comparison, *, runs: int) -> Iterator[Row]:
    """Run all sides in turn, `runs` times; yield a row for each side of `dl`.

    One round more comes first and is not counted, where more than one is.
    """
    peer = comparison.peer
    sides = [*([peer] if peer else []), *comparison.sides]
    for side in sides * (runs > 1):
        side.run()
    found = [[side.run() for side in sides] for _ in range(runs)]
    values = [list(column) for column in zip(*found, strict=True)]
    peer_values = values.pop(0) if peer else []
    for side, own in zip(comparison.sides, values, strict=True):
        yield Row(
            work=comparison.work,
            command=side.name,
            unit=comparison.unit + ("" if comparison.unit.endswith("/s") else ", less is better"),
            peer=peer.name if peer else "",
            peer_values=peer_values,
            values=own,
            features=side.features or features(),
        )


def report(options: Options, *, rows: Sequence[Row], missing: Sequence[str]) -> dict[str, Any]:
    """Return everything that was found, for JSON."""
    return {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "runs": options.runs,
        "quick": options.quick,
        "rows": [asdict(row) for row in rows],
        "missing": list(missing),
    }


def machine() -> str:
    """Return processor, threads, and what torch uses of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    processor = next(names, "") or platform.processor() or platform.machine()
    capability = torch.backends.cpu.get_cpu_capability()
    count = torch.get_num_threads()
    threads = "1 thread" if count == 1 else f"{count} threads"
    return f"{processor}, {threads}, torch {torch.__version__} with {capability}"


def features() -> str:
    """Return the form of the compiled code in use."""
    library, problem = find_library()
    return library.form if library else f"PyTorch alone: {problem}"


def forms() -> list[str]:
    """Return the forms of the compiled code to time: one where it is forced."""
    forced = os.environ.get("DL_SIMD", "")
    return [forced] if forced else available_forms()


def precisions() -> list[str]:
    """Return the precisions worth timing: bfloat16 where the processor multiplies it."""
    there = bf16_is_native(torch.device("cpu")) and all("bf16" in form for form in forms()[:1])
    return ["fp32", "bf16"] if there else ["fp32"]


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
        raise SystemExit("\n".join([f"{ended}; it said:", *lines, *filter(None, [hint])]))
