"""`dl runs page`: runs side by side as an HTML page, also while they train.

Legend: a *measure* is what was measured on both sides of a training, such as `loss` or `kl`.
"""

from __future__ import annotations

import base64
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dlcli.display.page import PAGES, assemble, templates
from dlcli.display.runs import (
    SIDES,
    measures_of,
    metrics_of,
    progress_axis,
    progress_points,
    setting_text,
)
from dlcli.engine.runs import RunFolder, differences, loss_kinds, summarise

SIZE_HINT = "A page holds all pictures of the snapshots: fewer runs make a smaller one."
RELOAD_S = 5
"""How often a page of runs that are training looks for a newer one."""
SCHEDULE = ("lr", "rate")
"""What is of the training as a whole: learning rate, and images or tokens a second."""


def runs_page(runs: Sequence[RunFolder], *, command: str, is_live: bool = False) -> str:
    """Return the page.

    Args:
        runs: one or more.
        command: that makes the page again.
        is_live: whether it will be written again: the page then loads itself anew.
    """
    rows = [summarise(run) for run in runs]
    kinds = loss_kinds([row["signature"] for row in rows])
    shown = [
        {
            "name": row["name"],
            "kind": kind,
            "axis": progress_axis(run.metrics())[1],
            "curves": _curves(run.metrics()),
            "snapshots": _snapshots(run),
        }
        for run, row, kind in zip(runs, rows, kinds, strict=True)
    ]
    measures = dict.fromkeys(measure for one in shown for measure in one["curves"])
    facts = [
        {
            **row,
            "since": str(row["started"] or "–")[:19].replace("T", " "),
            "shown": metrics_of(row),
            "commands": _commands(run.record()),
        }
        for run, row in zip(runs, rows, strict=True)
    ]
    template = templates(PAGES).get_template("runs.html.j2")
    body = template.render(
        rows=facts,
        kinds=list(dict.fromkeys(kinds)),
        measures=list(measures),
        has_snapshots=any(one["snapshots"] for one in shown),
        differences={
            path: [setting_text(value) for value in values]
            for path, values in (differences(runs) if len(runs) > 1 else {}).items()
        },
        command=command,
    )
    names = ", ".join(row["name"] for row in rows)
    return assemble(
        Markup(body),
        title=f"{names}: trainings",
        description="Curves, settings, snapshots and commands of trainings.",
        styles=[PAGES / "runs.css"],
        script=PAGES / "runs.js",
        data={
            "runs": shown,
            "written": time.time(),
            "reload_s": RELOAD_S if is_live else None,
        },
    )


def _curves(rows: Sequence[Mapping[str, object]]) -> dict[str, dict[str, list[list[float]]]]:
    """Return measure → side → points: what training, validation and the schedule did."""
    axis, _ = progress_axis(rows)
    keys = [
        (name, says, f"{side}_{name}") for name in measures_of(rows) for side, says in SIDES.items()
    ]
    found: dict[str, dict[str, list[list[float]]]] = {}
    for name, side, key in [*keys, *((name, "", name) for name in SCHEDULE)]:
        points = zip(*progress_points(rows, key=key, axis=axis), strict=True)
        if drawn := [list(point) for point in points]:
            found.setdefault(name, {})[side] = drawn
    return found


def _snapshots(run: RunFolder) -> dict[str, str]:
    """Return epoch → its picture, a PNG in base64."""
    return {
        str(int(path.stem.removeprefix("epoch-"))): base64.b64encode(path.read_bytes()).decode()
        for path in sorted(run.figures.glob("epoch-*.png"))
    }


def _commands(record: Mapping[str, Any]) -> list[str]:
    """Return what the user typed: to start the run, and to go on with it."""
    parts = record.get("resumed")
    known = [record, *(parts if isinstance(parts, list) else [])]
    words = [part.get("command") for part in known if isinstance(part, Mapping)]
    typed = [one for one in words if isinstance(one, list) and one]
    return [shlex.join(["dl", *map(str, one[1:])]) for one in typed]


def newest_change(runs: Sequence[RunFolder]) -> list[tuple[str, int]]:
    """Return what changes when there is something new to show of runs."""
    return [(run.status, _modified(run.metrics_file)) for run in runs]


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
