"""Tables of training runs: what there is, what one was, what may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlcli.engine.pruning import Removal
from dlcli.report.numbers import number, size, with_error
from dlcli.report.tables import ResultTable, facts

UNSHOWN = ("std_error", "images", "sentences")
"""Metrics that are part of another's cell, or of the signature."""

NATS = ("elbo", "reconstruction", "kl", "iwae", "nll", "loss", "nll_per_token")


def runs_table(
    rows: Sequence[Mapping[str, Any]], *, settings: Mapping[str, Sequence[object]] | None = None
) -> ResultTable:
    """Show runs with their key metrics, one a line, and their signatures below.

    Args:
        rows: summaries: `name`, `kind`, `status`, `epoch`, `metrics`, `signature`.
        settings: dotted path → one value a run: the settings in which they differ.
    """
    chosen = settings or {}
    names = dict.fromkeys(
        name for row in rows for name, value in _metrics(row).items() if _is_shown(name, value)
    )
    columns = ["run", "kind", "status", "epoch", *chosen, *map(_with_unit, names)]
    lines = [
        [
            row["name"],
            row.get("kind"),
            row.get("status"),
            row.get("epoch"),
            *(_setting(values[index]) for values in chosen.values()),
            *(_metric(row, name) for name in names),
        ]
        for index, row in enumerate(rows)
    ]
    signatures = {row["name"]: str(row["signature"]) for row in rows if row.get("signature")}
    return ResultTable(columns, lines, signatures=signatures)


def record_table(found: Mapping[str, Any]) -> ResultTable:
    """Show one run: what it was, its metrics, its last evaluation, its settings and files."""
    record = found.get("record", {})
    machine = record.get("machine") or {}
    shown: dict[str, object] = {
        name: found.get(name) for name in ("run", "kind", "title", "status", "started", "epoch")
    }
    shown["command"] = " ".join(map(str, record.get("command", []))) or None
    shown |= {f"machine.{name}": _setting(value) for name, value in machine.items()}
    metrics = _metrics(found)
    shown |= {
        _with_unit(name): _metric(found, name)
        for name, value in metrics.items()
        if _is_shown(name, value)
    }
    shown |= {
        f"last.{name}": value
        for name, value in found.get("last", {}).items()
        if isinstance(value, int | float)
    }
    shown |= dict(_leaves(found.get("config", {}), prefix="config."))
    shown["files"] = len(found.get("files", []))
    return facts(shown, signatures=str(found.get("signature") or ""))


def removals_table(removals: Sequence[Removal]) -> ResultTable:
    """Show what pruning would remove, and how much space that frees."""
    rows = [[str(item.path), item.reason, size(item.size)] for item in removals]
    total = size(sum(item.size for item in removals))
    count = f"{len(removals)} path" + ("" if len(removals) == 1 else "s")
    return ResultTable(["path", "reason", "size"], [*rows, [f"total: {count}", "", total]])


def _metrics(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row.get("metrics") or {}


def _with_unit(name: str) -> str:
    return f"{name} (nats)" if name in NATS else name


def _is_shown(name: str, value: object) -> bool:
    return name not in UNSHOWN and isinstance(value, int | float)


def _metric(row: Mapping[str, Any], name: str) -> str:
    """Write a metric; the ELBO's standard error stands beside it in the record."""
    metrics = _metrics(row)
    value = metrics.get(name)
    if name == "elbo" and isinstance(metrics.get("std_error"), int | float):
        return with_error(value, metrics["std_error"])
    return number(value, digits=5) if isinstance(value, int | float) else number(None)


def _setting(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_setting(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_setting, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def _leaves(data: Mapping[str, Any], *, prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            found += _leaves(value, prefix=f"{prefix}{key}.")
        else:
            found.append((prefix + key, _setting(value)))
    return found
