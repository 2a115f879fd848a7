"""Teacher forcing compared, in one table and one figure (Question 14)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlcli.report.canvas import colour, house_style, label, new_figure, save_figure
from dlcli.report.numbers import count, interval
from dlcli.report.tables import ResultTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dlcli.study.nmt_forcing import ForcingRow

NONE = "–"
LOSSES = ("teacher-forced", "free-running")
MARKERS = "osD^vP*X"


def forcing_table(rows: Sequence[ForcingRow]) -> ResultTable:
    """Show one ratio a line."""
    columns = (
        "teacher forcing",
        "valid loss (nats/token)",
        "free-running",
        "difference",
        "test BLEU",
        "95% interval",
        "longest sentences",
        "updates",
        "tokens/s",
    )
    cells = []
    for row in rows:
        valid, bleu, last = row.trained.valid, row.tested.bleu, row.tested.by_length[-1]
        losses = [NONE] * 3
        if valid is not None and row.exposure_gap is not None:
            measured = (valid.nll_per_token, valid.free_nll_per_token, row.exposure_gap)
            losses = [f"{value:.3f}" for value in measured]
        cells.append(
            [
                f"{row.teacher_forcing:g}",
                *losses,
                f"{bleu.score:.2f}",
                interval(*bleu.ci95),
                f"{last.bleu.score:.2f} ({last.name} words)",
                count(row.trained.updates),
                count(row.trained.tokens_per_s),
            ]
        )
    signatures = {f"{row.teacher_forcing:g}": row.tested.signature for row in rows}
    return ResultTable(columns, cells, signatures=signatures)


def forcing_figure(path: Path, rows: Sequence[ForcingRow]) -> Path:
    """Draw losses, BLEU, and BLEU by length side by side, and save the figure.

    Raises:
        UsageFault: the path is no picture's.
        RunFailed: it cannot be written.
    """
    with house_style():
        figure = new_figure(10.5, 3.6)
        losses, bleu, lengths = figure.subplots(1, 3, width_ratios=(1.1, 0.8, 1.4))
        _losses(losses, rows)
        _bleu(bleu, rows)
        _by_length(lengths, rows)
        return save_figure(figure, path)


def _losses(axes: Axes, rows: Sequence[ForcingRow]) -> None:
    names = [f"{row.teacher_forcing:g}" for row in rows]
    valid = [row.trained.valid for row in rows]
    for index, (name, field) in enumerate(
        zip(LOSSES, ("nll_per_token", "free_nll_per_token"), strict=True)
    ):
        places = [at + 0.38 * (index - 0.5) for at in range(len(rows))]
        values = [getattr(found, field) if found is not None else 0.0 for found in valid]
        axes.bar(places, values, width=0.36, color=colour(index), label=name)
    axes.set_xticks(range(len(rows)), names)
    axes.grid(False, axis="x")
    axes.set_xlabel("teacher forcing in training")
    axes.set_ylabel("validation loss (nats a token)")
    axes.legend(loc="best")


def _bleu(axes: Axes, rows: Sequence[ForcingRow]) -> None:
    for at, row in enumerate(rows):
        bleu = row.tested.bleu
        axes.bar([at], [bleu.score], width=0.6, color=colour(at + len(LOSSES)))
        axes.plot([at, at], bleu.ci95, color="black", linewidth=1.2)
    axes.set_xticks(range(len(rows)), [f"{row.teacher_forcing:g}" for row in rows])
    axes.grid(False, axis="x")
    axes.set_xlabel("teacher forcing in training")
    axes.set_ylabel(label(f"BLEU on {rows[0].tested.split}", longest=60))


def _by_length(axes: Axes, rows: Sequence[ForcingRow]) -> None:
    names = list(dict.fromkeys(found.name for row in rows for found in row.tested.by_length))
    for at, row in enumerate(rows):
        scores = {found.name: found.bleu.score for found in row.tested.by_length}
        places = [place for place, name in enumerate(names) if name in scores]
        axes.plot(
            places,
            [scores[names[place]] for place in places],
            color=colour(at + len(LOSSES)),
            marker=MARKERS[at % len(MARKERS)],
            label=f"teacher forcing {row.teacher_forcing:g}",
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("words in the source")
    axes.set_ylabel("BLEU")
    axes.legend(loc="best")
