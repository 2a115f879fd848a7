"""Figures that only the report draws: bounds, latents, variances, losses, lengths, factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlcli.report.canvas import colour, house_style, label, new_figure, save_figure
from dlcli.report.plots import Line, lines

if TYPE_CHECKING:
    from dlcli.study.nmt_evaluation import NmtEvaluation


def bounds_figure(
    path: Path, *, samples: Sequence[int], values: Sequence[float], errors: Sequence[float]
) -> None:
    """Draw lower bounds of log p(x) against their number of samples, with a band of one error."""
    pairs = list(zip(values, errors, strict=True))
    line = Line(
        name="lower bound of log p(x)",
        x=[float(count) for count in samples],
        y=values,
        low=[value - error for value, error in pairs],
        high=[value + error for value, error in pairs],
    )
    lines(
        path,
        [line],
        x_label="importance samples k (k = 1 is the ELBO)",
        y_label="nats an image",
        log_x=True,
    )


def latent_figure(costs: Sequence[float], path: Path) -> None:
    """Draw what each latent pays, in the order given."""
    with house_style():
        figure = new_figure(6.4, 2.6)
        axes = figure.add_subplot()
        axes.bar(range(1, len(costs) + 1), costs, color=colour(0), width=0.7)
        axes.set_xlabel("latent, by what it pays")
        axes.set_ylabel("KL (nats)")
        axes.grid(False, axis="x")
        save_figure(figure, path)


def variance_figure(variances: Mapping[str, float], path: Path) -> None:
    """Draw positive amounts as bars on a logarithmic scale, the first on top."""
    with house_style():
        figure = new_figure(6.4, 2.0)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.barh(range(len(variances)), list(variances.values()), color=colour(0), height=0.6)
        axes.set_xlim(min(variances.values()) / 10, max(variances.values()) * 3)
        axes.set_yticks(range(len(variances)), [label(name) for name in variances])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("trace of the covariance of one draw's gradient")
        save_figure(figure, path)


def losses_figure(losses: Mapping[str, float], path: Path) -> None:
    """Draw a few losses as bars, the first on top, each with its value."""
    with house_style():
        figure = new_figure(6.4, 0.5 * len(losses) + 0.8)
        axes = figure.add_subplot()
        bars = axes.barh(range(len(losses)), list(losses.values()), color=colour(0), height=0.6)
        axes.bar_label(bars, fmt="%.4f", padding=4)
        axes.margins(x=0.15)
        axes.set_yticks(range(len(losses)), [label(name) for name in losses])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("nats a token")
        save_figure(figure, path)


def lengths_figure(evaluations: Mapping[str, NmtEvaluation], path: Path) -> None:
    """Draw BLEU by the length of the source sentence, one line an evaluation."""
    series = [
        Line(
            name=f"{name} ({found.bleu.score:.1f})",
            x=[row.mean_words for row in found.by_length],
            y=[row.bleu.score for row in found.by_length],
            low=[row.bleu.ci95[0] for row in found.by_length],
            high=[row.bleu.ci95[1] for row in found.by_length],
        )
        for name, found in evaluations.items()
    ]
    lines(
        path,
        series,
        x_label="source length (words; mean of each bin)",
        y_label="BLEU, with 95% intervals",
    )


def factors_figure(
    series: Mapping[str, Sequence[float]], path: Path, *, steps: Sequence[float], placement: str
) -> None:
    """Draw a gradient's norm and its bounds at the input of every sublayer."""
    lines(
        path,
        [Line(name=name, x=steps, y=values) for name, values in series.items()],
        x_label="sublayer, counted from the input",
        y_label="norm of dloss/dx",
        title=f"{placement}-norm",
        log_y=True,
    )
