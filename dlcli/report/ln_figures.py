"""Figures of `dl ln-gradients`: gradient against depth, against the layer, and training curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dlcli.layernorm.results import Curve, LnGradients
from dlcli.report.plots import Level, Line, Slope, lines


def ln_figures(result: LnGradients, path: Path, *, per_layer: bool) -> list[Path]:
    """Draw what there is: `fig.png`, and beside it `fig-layers.png` and `fig-training.png`.

    Args:
        result: what was measured.
        path: PNG, SVG or PDF of the first figure.
        per_layer: whether to draw the layers too.

    Returns:
        the absolute paths of the files written.
    """
    drawn: list[tuple[str, Callable[[LnGradients, Path], None]]] = [("", depth_figure)]
    if per_layer:
        drawn.append(("-layers", layer_figure))
    if result.training is not None:
        drawn.append(("-training", training_figure))
    files = []
    for suffix, draw in drawn:
        file = path.with_name(f"{path.stem}{suffix}{path.suffix}").absolute()
        draw(result, file)
        files.append(file)
    return files


def depth_figure(result: LnGradients, path: Path) -> None:
    """Draw the last layer's gradient against depth, seed bands, and the theorem's slopes."""
    series, slopes = [], []
    for name, found in result.placements.items():
        for width in found.widths:
            if not width.by_seed or min(map(min, width.by_seed)) <= 0:
                continue
            label = name if len(found.widths) == 1 else f"{name}, d = {width.width}"
            series.append(
                Line(
                    name=f"{label}: slope {width.slope:+.3f}" if width.slope is not None else label,
                    x=width.depths,
                    y=width.last_layer_norm,
                    low=[min(column) for column in zip(*width.by_seed, strict=True)],
                    high=[max(column) for column in zip(*width.by_seed, strict=True)],
                )
            )
        claim = result.theorem.get(name)
        if claim is not None and found.last_layer_norm and found.last_layer_norm[0] > 0:
            through = (found.depths[0], found.last_layer_norm[0])
            slopes.append(
                Slope(exponent=claim.target, through=through, name=f"theory {claim.target:g}")
            )
    lines(
        path,
        series,
        x_label="depth L (layers)",
        y_label="norm of the last layer's dloss/dW2",
        title="Gradient at initialisation (bands: seeds; broken lines: Theorem 1)",
        log_x=True,
        log_y=True,
        slopes=slopes,
        note=result.signature,
    )


def layer_figure(result: LnGradients, path: Path) -> None:
    """Draw the norm of dloss/dx at every layer's input, for every condition."""
    several = any(len(found.profiles) > 1 for found in result.placements.values())
    series = []
    for name, found in result.placements.items():
        for profile in found.profiles:
            if not profile.rows or (several and profile.problem == "gaussian"):
                continue
            y = [row.hidden for row in profile.rows]
            label = f"{name}, {profile.condition}" if several else name
            series.append(Line(name=label, x=[row.layer for row in profile.rows], y=y))
    lines(
        path,
        series,
        x_label="layer (1 is next to the input)",
        y_label="norm of dloss/dx at the layer's input",
        title="Gradient through the layers",
        log_y=True,
        note=result.signature,
    )


def training_figure(result: LnGradients, path: Path) -> None:
    """Draw the mean loss of each kind of run with a band over its seeds."""
    training = result.training
    assert training is not None
    lines(
        path,
        [_mean_curve(name, curves) for name, curves in _kinds(training.curves)],
        x_label="update",
        y_label="loss (nats per symbol)",
        title=f"{training.depth} layers, {training.task} task, bands over seeds",
        levels=[Level(name="guessing", y=training.chance_loss)],
        note=result.signature,
    )


def _kinds(curves: Sequence[Curve]) -> Iterator[tuple[str, list[Curve]]]:
    keys = dict.fromkeys((curve.placement, curve.warmup_steps) for curve in curves)
    for placement, warmup in keys:
        name = f"{placement}, {'warm-up' if warmup else 'no warm-up'}"
        found = [c for c in curves if (c.placement, c.warmup_steps) == (placement, warmup)]
        yield name, found


def _mean_curve(name: str, curves: Sequence[Curve]) -> Line:
    """Average over the seeds that reached each point."""
    longest = max(curves, key=lambda curve: len(curve.steps)).steps
    columns = [
        [curve.loss[index] for curve in curves if index < len(curve.loss)]
        for index in range(len(longest))
    ]
    return Line(
        name=name,
        x=longest,
        y=[sum(column) / len(column) for column in columns],
        low=[min(column) for column in columns],
        high=[max(column) for column in columns],
    )
