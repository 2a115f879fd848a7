"""Runs beside one another: summaries, differing settings, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlcli.engine.config import load_yaml
from dlcli.engine.runs import RunFolder
from dlcli.errors import DlError

Series = tuple[Sequence[float], Sequence[float]]

CURVES = ("valid_loss", "train_loss", "valid_nll_per_token")
"""What a learning curve shows, the first that a run has."""


def summarise(run: RunFolder) -> dict[str, Any]:
    """Return a run's key facts: name, kind, status, final metrics, signature."""
    record = run.record()
    rows = run.metrics()
    return {
        "run": str(run.path),
        "name": run.path.name
        if run.path.parent.name == "runs"
        else f"{run.path.parent.name}/{run.path.name}",
        "kind": record.get("kind"),
        "title": record.get("title"),
        "status": run.status,
        "started": record.get("started"),
        "epoch": rows[-1].get("epoch") if rows else 0,
        "metrics": record.get("metrics", {}),
        "signature": record.get("signature"),
    }


def details(run: RunFolder) -> dict[str, Any]:
    """Return everything that is known of a run: its record, its settings, its last metrics."""
    rows = run.metrics()
    files = sorted(
        str(path) for path in run.path.rglob("*") if path.is_file() and path.name != ".lock"
    )
    return {
        **summarise(run),
        "record": run.record(),
        "config": load_yaml(run.config_file),
        "last": rows[-1] if rows else {},
        "files": files,
    }


def differences(runs: Sequence[RunFolder]) -> dict[str, list[Any]]:
    """Return the settings in which runs differ: dotted path → one value a run (None: not set)."""
    flat = [dict(_leaves(_config(run))) for run in runs]
    paths = dict.fromkeys(path for settings in flat for path in settings)
    found = {path: [settings.get(path) for settings in flat] for path in paths}
    return {path: values for path, values in found.items() if any(v != values[0] for v in values)}


def curves_of(runs: Sequence[RunFolder]) -> dict[str, Series]:
    """Return each run's learning curve: name → (epochs, losses)."""
    return {summarise(run)["name"]: curve_of(run) for run in runs}


def curve_of(run: RunFolder) -> Series:
    """Return a run's learning curve (epochs, losses), of validation data where there are any."""
    rows = run.metrics()
    for name in CURVES:
        points = [
            (row["epoch"], row[name]) for row in rows if isinstance(row.get(name), int | float)
        ]
        if points:
            return [float(x) for x, _ in points], [float(y) for _, y in points]
    return [], []


def signature_warning(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence where the runs' numbers were not measured on the same pixels or data."""
    for part in ("data", "pixels", "split", "likelihood"):
        values = {_part(row.get("signature"), part) for row in rows if row.get("signature")}
        if len(values) > 1:
            found = ", ".join(sorted(values))
            return f"These runs differ in {part} ({found}): do not compare their losses."
    return ""


def _part(signature: str | None, name: str) -> str:
    for field in (signature or "").split("|"):
        key, _, value = field.partition(":")
        if key == name:
            return value
    return "none"


def _config(run: RunFolder) -> dict[str, Any]:
    try:
        return load_yaml(run.config_file)
    except DlError:
        return {}


def _leaves(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, value))
    return found
