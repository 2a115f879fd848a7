"""Several trainings of one translator: what their seeds have in common."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Mapping
from pathlib import Path

from dlcli.nmt.result import NmtResult
from dlcli.study.repeat import spread

MEASURED = ("nll_per_token", "free_nll_per_token", "bleu", "chrf")


def summarise(results: Mapping[str, NmtResult]) -> dict[str, object]:
    """Return what `--json` says of several seeds: means, standard deviations, and every run.

    Args:
        results: `seed-N` → result, at least one.
    """
    first = next(iter(results.values()))
    measured = [result.valid for result in results.values() if result.valid is not None]
    spreads = {
        name: spread([float(getattr(valid, name)) for valid in measured])
        for name in (MEASURED if measured else ())
    }
    seeds = ",".join(label.removeprefix("seed-") for label in results)
    return {
        "run": str(Path(first.run).parent),
        "data": first.data,
        "direction": first.direction,
        "epochs": first.epochs,
        "updates": first.updates,
        "tokens_per_s": statistics.fmean(result.tokens_per_s for result in results.values()),
        "valid": {name: found.mean for name, found in spreads.items()} or None,
        "valid_std": {name: found.std for name, found in spreads.items()} or None,
        "seeds": len(results),
        "signature": re.sub(r"\|seed:\d+", f"|seed:{seeds}", first.signature),
        "runs": [dataclasses.asdict(result) for result in results.values()],
    }
