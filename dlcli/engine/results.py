"""What a training came to, and what several seeds of it say together."""

from __future__ import annotations

import dataclasses
import re
import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcli.engine.statistics import mean_std


@dataclass(frozen=True, kw_only=True)
class Result(ABC):
    """What a training came to; it goes into run.json."""

    run: str
    """Absolute path of the run folder."""
    data: str
    epochs: int
    """Whole epochs trained."""
    train_s: float
    """Seconds of training alone, over all sessions of the run."""
    reason: str
    """Why it ended: `done`, `early-stop` or `max-minutes`."""
    signature: str

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, object]:
        """Return the key numbers, for tables of runs."""


def summarise_seeds(
    results: Mapping[str, Result],
    *,
    shared: Sequence[str],
    rate: str,
    measured: str,
    names: Sequence[str],
) -> dict[str, object]:
    """Return what `--json` says of several seeds: means, standard deviations, and every run.

    Args:
        results: `seed-N` → result, at least one.
        shared: fields of a result that all seeds have in common.
        rate: the field of the speed.
        measured: the field of the measurement, such as `test`; it may be None in all results.
        names: the numbers in it.
    """
    first = next(iter(results.values()))
    found = [getattr(result, measured) for result in results.values()]
    found = [measurement for measurement in found if measurement is not None]
    over_seeds = {
        name: mean_std([float(getattr(measurement, name)) for measurement in found])
        for name in (names if found else ())
    }
    seeds = ",".join(label.removeprefix("seed-") for label in results)
    return {
        "run": str(Path(first.run).parent),
        **{name: getattr(first, name) for name in shared},
        rate: statistics.fmean(getattr(result, rate) for result in results.values()),
        measured: {name: each.mean for name, each in over_seeds.items()} or None,
        f"{measured}_std": {name: each.std for name, each in over_seeds.items()} or None,
        "seeds": len(results),
        "signature": re.sub(r"\|seed:\d+", f"|seed:{seeds}", first.signature),
        "runs": [dataclasses.asdict(result) for result in results.values()],
    }
