"""The same training several times: over seeds, or over the cells of a grid."""

from __future__ import annotations

import dataclasses
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcli.engine.events import Event, Notice
from dlcli.engine.runs import fresh_path
from dlcli.engine.session import Place
from dlcli.errors import RunFailed
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.result import TrainResult
from dlcli.vae.training import train

Listener = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A number over repetitions."""

    mean: float
    std: float | None
    """Sample standard deviation over the repetitions; None for a single one."""
    values: tuple[float, ...]


def spread(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation."""
    finite = [value for value in values if math.isfinite(value)]
    std = statistics.stdev(finite) if len(finite) > 1 else None
    mean = statistics.fmean(finite) if finite else math.nan
    return Spread(mean=mean, std=std, values=tuple(values))


def train_once(
    config: VaeTrainConfig,
    *,
    place: Place,
    init_from: str | None = None,
    listeners: Sequence[Listener] = (),
) -> TrainResult | None:
    """Train a VAE to its end, telling every listener; None on processes other than the main one."""
    events = train(config, place=place, init_from=init_from)
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            result: TrainResult | None = end.value
            return result
        for listener in listeners:
            listener(event)


def seeds_of(config: VaeTrainConfig, count: int) -> dict[str, VaeTrainConfig]:
    """Return the config once for each of `count` seeds, counted on from its own."""
    first = config.compute.seed
    return {
        f"seed-{seed}": dataclasses.replace(
            config, compute=dataclasses.replace(config.compute, seed=seed)
        )
        for seed in range(first, first + count)
    }


def train_all(
    cells: Mapping[str, VaeTrainConfig],
    *,
    place: Place,
    title: str,
    init_from: str | None = None,
    listeners: Sequence[Listener] = (),
) -> dict[str, TrainResult]:
    """Train every cell into a folder of its own under one base folder.

    With `place.resume`, cells that are done give their result again, cells that were stopped go on,
    and the others start. A cell that fails (a learning rate that diverges, say) costs a warning and
    its place in the results.

    Raises:
        RunFailed: every cell failed.
    """
    base = place.resume or place.out or fresh_path(title)
    results: dict[str, TrainResult] = {}
    failure: RunFailed | None = None
    for label, config in cells.items():
        folder = base / folder_name(label)
        where = _cell_place(folder, place)
        try:
            result = train_once(config, place=where, init_from=init_from, listeners=listeners)
        except RunFailed as error:
            failure = error
            for listener in listeners:
                listener(Notice(message=f"{label}: {error.message}", level="warning"))
            continue
        if result is not None:
            results[label] = result
    if failure is not None and not results:
        raise failure
    return results


def folder_name(label: str) -> str:
    """Turn a cell's label into a folder name that every file system takes."""
    return re.sub(r"[^\w.=+-]+", "_", label) or "cell"


def _cell_place(folder: Path, place: Place) -> Place:
    if place.resume is not None and (folder / "config.yaml").is_file():
        return Place(resume=folder)
    return Place(out=folder, force=place.force)


def summarise(results: Mapping[str, TrainResult]) -> dict[str, object]:
    """Return what `--json` says of several seeds: means, standard deviations, and every run."""
    first = next(iter(results.values()))
    names = ("elbo", "reconstruction", "kl")
    spreads = {
        name: spread([getattr(result.test, name) for result in results.values()]) for name in names
    }
    seeds = ",".join(label.removeprefix("seed-") for label in results)
    return {
        "run": str(Path(first.run).parent),
        "data": first.data,
        "arch": first.arch,
        "epochs": first.epochs,
        "images_per_s": statistics.fmean(result.images_per_s for result in results.values()),
        "test": {name: found.mean for name, found in spreads.items()},
        "test_std": {name: found.std for name, found in spreads.items()},
        "seeds": len(results),
        "signature": re.sub(r"\|seed:\d+", f"|seed:{seeds}", first.signature),
        "runs": [dataclasses.asdict(result) for result in results.values()],
    }
