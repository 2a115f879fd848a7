"""Training runs: learning curves, tables of runs, and the figures drawn while one happens."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcli.display.console import Consoles
from dlcli.display.images import read_png, save_png, snapshots
from dlcli.display.plots import colour, house_style, label, new_figure, save_figure
from dlcli.display.tables import ResultTable, facts, number, size, with_error
from dlcli.engine.config import load_yaml
from dlcli.engine.events import Event, Finished, Measured, Pictures, RunStarted
from dlcli.engine.runs import Curve, Removal, RunFolder, leaves, loss_kinds
from dlcli.errors import DlError, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, object]

SIDES = {"train": "training", "valid": "validation"}
UNITS = {"bleu": "BLEU", "chrf": "chrF", "accuracy": "fraction"}
"""Measured in something else than nats."""
NOT_LOSSES = ("train_s",)
MOST_PANELS = 6
MARKERS_UP_TO = 15
"""Points a line may have to show each as a dot."""
FAR = 3.0
"""Times the best loss: a run whose own best is higher is not in the frame."""
SETTLED = 0.05
"""The share of points at the start that may lie above the frame: they would flatten the rest."""


def loss_curves(
    path: Path,
    rows: Sequence[Row],
    *,
    title: str = "",
    sets: Mapping[str, str] | None = None,
    test: Mapping[str, float] | None = None,
) -> Figure:
    """Draw the loss and each of its parts over the epochs: training, validation and test.

    Args:
        path: PNG, SVG or PDF.
        rows: the lines of metrics.jsonl: `epoch`, `step`, `train_*`, `valid_*`; null is left out.
        title: above everything.
        sets: what `training`, `validation` and `test` are of, such as `1,600 images`.
        test: losses on the test set, which is read once, at the end.

    Raises:
        RunFailed: the path cannot be written.
    """
    sets, test = sets or {}, test or {}
    names = measures_of(rows)[:MOST_PANELS]
    axis, unit = progress_axis(rows)
    with house_style():
        across = max(1, min(3, len(names)))
        down = max(1, math.ceil(len(names) / across))
        figure = new_figure(max(4.0, 3.1 * across), 2.7 * down)
        for index, name in enumerate(names):
            axes = figure.add_subplot(down, across, index + 1)
            _panel(axes, rows, name=name, axis=axis, sets=sets, test=test.get(name))
            axes.set_xlabel(unit)
        if not names:
            figure.text(0.5, 0.5, "nothing measured yet", ha="center", va="center")
        if title:
            figure.suptitle(label(title, longest=120))
        save_figure(figure, path)
    return figure


def compare_curves(path: Path, curves: Mapping[str, Curve], *, title: str = "") -> Figure:
    """Draw one curve a run in one frame, named beside it; a star is the test set, at the end.

    Losses that are not to be compared have a frame for each kind.

    Args:
        path: PNG, SVG or PDF.
        curves: name → curve; an empty one keeps its place in the legend.
        title: above the frames.
    """
    kinds = loss_kinds([curve.signature for curve in curves.values()])
    panels: dict[str, dict[str, Curve]] = {kind: {} for kind in kinds}
    for kind, (name, curve) in zip(kinds, curves.items(), strict=True):
        panels[kind][name] = curve
    with house_style():
        figure = new_figure(7.0, sum(max(3.4, 0.22 * len(of) + 1.0) for of in panels.values()))
        for number, (kind, alike) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(len(panels), 1, number)
            _compared(axes, alike)
            words = ", ".join(filter(None, [title if number == 1 else "", kind]))
            axes.set_title(label(words, longest=120))
        save_figure(figure, path)
    return figure


def _compared(axes: Axes, curves: Mapping[str, Curve]) -> None:
    sides = {curve.side for curve in curves.values() if curve.losses}
    inside = _within_reach([curve.losses for curve in curves.values()])
    framed = list(inside)
    for index, (name, curve) in enumerate(curves.items()):
        words = label(name) + (f", {curve.side}" if len(sides) > 1 else "")
        words += _absence(curve.losses, inside=inside)
        _draw(axes, curve.epochs, curve.losses, name=words, index=index)
        if curve.test is not None and any(curve.losses is one for one in inside):
            axes.plot(curve.epochs[-1:], [curve.test], "*", color=colour(index))
            framed.append([curve.test])
    if len(framed) > len(inside):
        axes.plot([], [], "*", color="black", label="−ELBO, test set")
    _frame(axes, framed)
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel(f"{sides.pop()} loss (nats)" if len(sides) == 1 else "loss (nats)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3)


def _within_reach(series: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Leave out series that never came near the best: one that diverged would flatten the rest."""
    best = [min(filter(math.isfinite, values), default=math.inf) for values in series]
    least = min(best, default=math.inf)
    reach = least + (FAR - 1) * abs(least) if least else math.inf
    return [values for values, low in zip(series, best, strict=True) if low <= reach < math.inf]


def _absence(values: Sequence[float], *, inside: Sequence[Sequence[float]]) -> str:
    """Say in the legend why a series is not to be seen."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return " (no values)"
    return "" if any(values is one for one in inside) else f" (above: {number(min(finite))})"


def _panel(
    axes: Axes,
    rows: Sequence[Row],
    *,
    name: str,
    axis: str,
    sets: Mapping[str, str],
    test: float | None,
) -> None:
    drawn: list[Sequence[float]] = []
    last = 0.0
    for index, side in enumerate(SIDES):
        points = progress_points(rows, key=f"{side}_{name}", axis=axis)
        if points[0]:
            _draw(axes, *points, name=_named(SIDES[side], sets), index=index)
            drawn.append(points[1])
            last = max(last, points[0][-1])
    if test is not None and drawn:
        _draw(axes, [last], [test], name=_named("test", sets), index=len(SIDES))
        drawn.append([test])
    _frame(axes, drawn)
    axes.set_title(label(name.replace("_", " ")))
    axes.set_ylabel(UNITS.get(name, "nats"))
    axes.legend(loc="best")


def _named(side: str, sets: Mapping[str, str]) -> str:
    return label(f"{side}: {sets[side]}" if side in sets else side)


def _draw(axes: Axes, x: Sequence[float], y: Sequence[float], *, name: str, index: int) -> None:
    marker = "o" if len(x) <= MARKERS_UP_TO else ""
    style = "-" if index < 8 else "--"
    axes.plot(x, y, label=name, color=colour(index), marker=marker, linestyle=style)


def _frame(axes: Axes, series: Sequence[Sequence[float]]) -> None:
    """Let the first few values leave the frame at the top, where there are many."""
    settled = [
        value
        for values in series
        for value in values[math.ceil(SETTLED * len(values)) if len(values) >= 20 else 0 :]
        if math.isfinite(value)
    ]
    if settled:
        low, high = min(settled), max(settled)
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)
    if all(len(values) <= MARKERS_UP_TO for values in series):
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def measures_of(rows: Sequence[Row]) -> list[str]:
    """Return what was measured, without its side, the loss first."""
    found: dict[str, None] = {}
    for row in rows:
        for key, value in row.items():
            side, _, name = key.partition("_")
            if side in SIDES and name and key not in NOT_LOSSES and _is_number(value):
                found.setdefault(name)
    return sorted(found, key=lambda name: name != "loss")


def progress_axis(rows: Sequence[Row]) -> tuple[str, str]:
    """Count in epochs, or in updates where an epoch has several evaluations."""
    epochs = [row.get("epoch") for row in rows]
    return ("epoch", "epoch") if len(set(epochs)) == len(epochs) else ("step", "update")


def progress_points(rows: Sequence[Row], *, key: str, axis: str) -> tuple[list[float], list[float]]:
    """Return where and what was measured under a key, without what is null."""
    x, y = [], []
    for row in rows:
        at, value = row.get(axis), row.get(key)
        if isinstance(at, int | float) and isinstance(value, int | float) and _is_number(value):
            x.append(float(at))
            y.append(float(value))
    return x, y


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


UNSHOWN = ("std_error", "images", "sentences")
"""Metrics that are part of another's cell, or of the signature."""

KEY_METRICS = {"elbo": "nats (ELBO)", "bleu": "BLEU"}
"""Metrics that a narrow terminal has room for, with their units."""
NATS = ("elbo", "reconstruction", "kl", "iwae", "nll", "loss", "nll_per_token")


def runs_table(
    rows: Sequence[Mapping[str, Any]],
    *,
    settings: Mapping[str, Sequence[object]] | None = None,
    signed: bool = True,
    title: str = "",
) -> ResultTable:
    """Show runs with their key metrics, one a line.

    Args:
        rows: summaries: `name`, `kind`, `status`, `epoch`, `metrics`, `signature`.
        settings: dotted path → one value a run: the settings in which they differ.
        signed: whether the signatures stand below.
        title: of the table.
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
            *(setting_text(values[index]) for values in chosen.values()),
            *(_metric(row, name) for name in names),
        ]
        for index, row in enumerate(rows)
    ]
    spare = [_with_unit(name) for name in names if name not in KEY_METRICS]
    signatures = _signatures(rows) if signed else {}
    return ResultTable(columns, lines, title=title, signatures=signatures, spare=spare)


def runs_tables(
    rows: Sequence[Mapping[str, Any]], *, settings: Mapping[str, Sequence[object]]
) -> list[ResultTable]:
    """Show runs whose losses may be compared in one table, with a title where there are several.

    Args:
        rows: see `runs_table`.
        settings: likewise.
    """
    kinds = loss_kinds([row.get("signature") for row in rows])
    tables = []
    for kind in dict.fromkeys(kinds):
        own = [index for index, one in enumerate(kinds) if one == kind]
        chosen = {path: [values[index] for index in own] for path, values in settings.items()}
        tables.append(runs_table([rows[index] for index in own], settings=chosen, title=kind))
    return tables


def metrics_csv(rows: Sequence[Row]) -> str:
    """Return evaluations as CSV (RFC 4180): a line each; lists have a column for each item."""
    flat = [leaves({key: _numbered(value) for key, value in row.items()}) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _numbered(value: object) -> object:
    return {str(i): item for i, item in enumerate(value)} if isinstance(value, list) else value


def models_table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """Show packaged models: what each is for, its size, its score."""
    lines = []
    for row in rows:
        scores = [
            f"{_metric(row, name)} {unit}"
            for name, unit in KEY_METRICS.items()
            if name in _metrics(row)
        ]
        lines.append([row["name"], size(row["size_bytes"]), ", ".join(scores), row["purpose"]])
    columns = ["name", "size", "score", "what it is for"]
    return ResultTable(columns, lines)


def _signatures(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {row["name"]: str(row["signature"]) for row in rows if row.get("signature")}


def record_table(
    found: Mapping[str, Any], *, usual: Mapping[str, Any] | None = None
) -> ResultTable:
    """Show one run: what it was, its metrics, its settings and files.

    Args:
        found: see `dlcli.engine.runs.details`.
        usual: the default settings, which are then left out, as are the machine and the last
            evaluation.
    """
    record = found.get("record", {})
    machine = record.get("machine") or {}
    shown: dict[str, object] = {
        name: found.get(name) for name in ("run", "kind", "title", "status", "started", "epoch")
    }
    command = [str(word) for word in record.get("command", [])]
    shown["command"] = " ".join(["dl", *command[1:]]) if command else None
    if usual is None:
        shown |= {f"machine.{name}": setting_text(value) for name, value in machine.items()}
    shown |= metrics_of(found)
    if usual is None:
        shown |= {
            f"last.{name}": value
            for name, value in found.get("last", {}).items()
            if isinstance(value, int | float)
        }
    defaults = leaves(usual or {})
    shown |= {
        path: setting_text(value)
        for path, value in leaves(found.get("config", {})).items()
        if usual is None or setting_text(value) != setting_text(defaults.get(path))
    }
    shown["files"] = len(found.get("files", []))
    return facts(shown, signatures=str(found.get("signature") or ""))


def removals_table(removals: Sequence[Removal]) -> ResultTable:
    """Show what pruning would remove, and how much space that frees."""
    here = Path.cwd()
    rows = [
        [
            item.path.relative_to(here) if item.path.is_relative_to(here) else item.path,
            item.reason,
            size(item.size),
        ]
        for item in removals
    ]
    total = size(sum(item.size for item in removals))
    last = [f"total: {plural(len(removals), 'path')}", "", total]
    return ResultTable(["path", "reason", "size"], [*rows, last])


def _metrics(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row.get("metrics") or {}


def metrics_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the final metrics of a run's summary as they are shown, by their names."""
    return {
        _with_unit(name): _metric(row, name)
        for name, value in _metrics(row).items()
        if _is_shown(name, value)
    }


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


def setting_text(value: object) -> str:
    """Write a setting as tables show it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {setting_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(setting_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


USUAL_SIZE = (28, 28)
"""Pixels of an image in a snapshot of a run whose settings do not say it."""


class RunFigures:
    """Write `figures/` of each run whose events it takes.

    `epoch-0010.png` are the pixels of a snapshot as they are, written at once; `snapshots.png`
    (these side by side) and `curves.png` are drawn when the run ends, from what is on disk, so
    that a resumed run has them whole. A picture that cannot be written costs a warning, not the
    run.

    Args:
        consoles: where to warn.
    """

    def __init__(self, consoles: Consoles | None = None) -> None:
        self._consoles = consoles or Consoles()
        self._run: RunFolder | None = None
        self._title = ""
        self._sets: Mapping[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Take an event; those of no interest are passed over."""
        try:
            self._take(event)
        except DlError as error:
            self._consoles.warning(error.message)

    def _take(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._run, self._sets = RunFolder(event.run), event.sets
            self._title = f"{event.title} on {event.data}"
        elif self._run is not None and isinstance(event, Pictures):
            save_png(self._run.figures / f"epoch-{event.epoch:04d}.png", event.images)
        elif self._run is not None and isinstance(event, Finished | Measured):
            if isinstance(event, Finished) and event.reason != "interrupted":
                return  # its result follows, and then all is drawn
            test = event.test if isinstance(event, Measured) else {}
            draw_curves(self._run, title=self._title, sets=self._sets, test=test)
            draw_snapshots(self._run, title=self._title)


def draw_curves(
    run: RunFolder,
    *,
    title: str = "",
    sets: Mapping[str, str] | None = None,
    test: Mapping[str, float] | None = None,
) -> None:
    """Draw `figures/curves.png` from metrics.jsonl, if there are any metrics."""
    rows = run.metrics()
    if rows:
        loss_curves(run.figures / "curves.png", rows, title=title, sets=sets, test=test)


def draw_snapshots(run: RunFolder, *, title: str = "") -> None:
    """Draw `figures/snapshots.png` from the run's snapshot pictures, if there are any."""
    import numpy as np

    size = _size_of(run)
    panels = {
        f"epoch {int(path.stem.removeprefix('epoch-'))}": read_png(path, size=size)
        for path in sorted(run.figures.glob("epoch-*.png"))
    }
    if panels:
        words = f"{title}: the same z at each epoch" if title else "the same z at each epoch"
        columns = next(iter(panels.values())).shape[1]
        snapshots(
            run.figures / "snapshots.png",
            {name: np.concatenate(images) for name, images in panels.items()},
            title=words,
            columns=columns,
        )


def _size_of(run: RunFolder) -> tuple[int, int]:
    """Return height and width of a run's images, as its settings say."""
    settings = load_yaml(run.config_file).get("data") if run.config_file.is_file() else None
    given = settings.get("image_size") if isinstance(settings, Mapping) else None
    H, _, W = str(given).partition("x")
    return (int(H), int(W)) if H.isdecimal() and W.isdecimal() else USUAL_SIZE
