"""What `dl ln-gradients` says and draws: slopes, layers, equations, lemmas, trainings.

`ln_words` yields the tables and sentences, `ln_figures` draws gradients against depth, gradients
against the layer, and training curves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import RenderableType

from dlcli.display.plots import Level, Line, Slope, lines
from dlcli.display.tables import ResultTable, interval, number
from dlcli.errors import plural
from dlcli.layernorm.equations import EquationCheck, Lemmas, StepCheck
from dlcli.layernorm.gradients import LayerProfile
from dlcli.layernorm.measurement import LnGradients, ModelGradients
from dlcli.layernorm.training import Curve, TrainingResult


def ln_words(result: LnGradients, *, per_layer: bool) -> Iterator[RenderableType]:
    """Yield everything that is said about a result, complete or not, the verdict last.

    Args:
        result: what was measured.
        per_layer: whether to show the layers at initialisation too.
    """
    if not result.complete:
        yield f"PARTIAL: interrupted with {result.seeds} complete seeds and {result.done:.0%} done."
    yield slopes_table(result)
    yield f"Setting: {result.conditions}."
    yield from _remarks(result)
    for table in layer_tables(result, initial=per_layer):
        yield ""
        yield table
    for check in result.equations:
        yield ""
        yield equation_table(check)
        yield from equation_words(check)
    if result.lemmas is not None:
        yield ""
        yield lemma_table(result.lemmas)
        yield from lemma_words(result.lemmas)
    if result.training is not None:
        yield ""
        yield training_table(result.training)
        yield from result.training.words
    yield ""
    yield from (claim.words for claim in result.theorem.values())
    far = "" if result.complete else " so far"
    yield f"verdict{far}: {result.verdict or 'undecided'}"


def model_words(result: ModelGradients) -> Iterator[RenderableType]:
    """Yield what is said of a trained model."""
    yield _layer_table(result.stacks, signature=result.signature)
    for name, found in result.stacks.items():
        ratio = "none" if found.first_to_last is None else number(found.first_to_last)
        yield f"{name}, {result.norm}-norm: gradient at its input over that at its output {ratio}"


def slopes_table(result: LnGradients) -> ResultTable:
    """Show the last layer's gradient norm by depth, and its slopes, one line a width."""
    depths = next((found.depths for found in result.placements.values()), ())
    rows = [
        [
            name,
            width.width,
            *width.last_layer_norm,
            None if width.slope is None else f"{width.slope:+.3f}",
            interval(*width.slope_ci95, digits=3) if width.slope_ci95 else None,
            width.note,
        ]
        for name, found in result.placements.items()
        for width in found.widths
    ]
    columns = ["placement", "d", *(f"L={depth}" for depth in depths), "slope", "95% interval", ""]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    title = "Gradient norm of the last layer's second feed-forward matrix, by depth L"
    return ResultTable(columns, rows, title=title, signatures=result.signature)


def _remarks(result: LnGradients) -> Iterator[str]:
    for name, found in result.placements.items():
        if found.width_slope is not None:
            ci = found.width_slope_ci95
            yield (
                f"{name}: slope {found.width_slope:+.3f} against the width at L = "
                f"{found.depths[-1]}" + (f", 95% interval {interval(*ci, digits=3)}" if ci else "")
            )
    for name, found in result.placements.items():
        if name not in ("post", "pre"):
            yield f"{name}: {found.source}"


def layer_tables(result: LnGradients, *, initial: bool) -> Iterator[ResultTable]:
    """Yield one table of all placements for each condition that was measured."""
    conditions: dict[tuple[str, str, int], dict[str, LayerProfile]] = {}
    for name, found in result.placements.items():
        for profile in found.profiles:
            if initial or profile.problem != "gaussian":
                key = (profile.problem, profile.condition, profile.step)
                conditions.setdefault(key, {})[name] = profile
    yield from map(_layer_table, conditions.values())


def _layer_table(profiles: dict[str, LayerProfile], *, signature: str = "") -> ResultTable:
    first = next(iter(profiles.values()))
    depth = max(len(profile.rows) for profile in profiles.values())
    columns = ["layer", *(f"{name} {of}" for name in profiles for of in ("dW", "dW2", "dx"))]
    rows: list[list[object]] = [[index + 1] for index in range(depth)]
    last: list[object] = ["output"]
    for profile in profiles.values():
        for row, found in itertools.zip_longest(rows, profile.rows):
            row += [None] * 3 if found is None else [found.weights, found.w2, found.hidden]
        last += [None, None, profile.output_hidden]
    notes = "".join(f"; {name}: {p.note}" for name, p in profiles.items() if p.note)
    after = f"after {plural(first.step, 'update')}, " * bool(first.step) + first.condition
    title = f"Gradient norms by layer (dx: at its input), {first.problem} problem, {after}{notes}"
    return ResultTable(columns, [*rows, last], title=title, signatures=signature)


def equation_table(check: EquationCheck) -> ResultTable:
    """Show each step's Jacobian check, its factors, and the bounds beside the true gradient."""
    columns: dict[str, Callable[[StepCheck], object]] = {
        "step": lambda step: step.step,
        "layer": lambda step: step.layer,
        "sublayer": lambda step: step.sublayer,
        "difference": lambda step: f"{step.difference:.1e}",
        "lambda": lambda step: step.lambda_measured,
        "1/sigma": lambda step: step.lambda_closed,
        "sigma(I+J_A)": lambda step: step.dropped_factor,
        "true |g|": lambda step: step.gradient,
        "|gL| lambda^(N-s-1)": lambda step: step.seed_bound,
        "|gL| prod lambda": lambda step: step.lambda_product,
        "full bound": lambda step: step.full_bound,
    }
    if check.placement == "pre":  # Question 16's bounds are about post-norm alone
        for name in ("sigma(I+J_A)", "|gL| lambda^(N-s-1)", "|gL| prod lambda"):
            del columns[name]
    rows = [[value(step) for value in columns.values()] for step in check.steps]
    title = f"Equation {check.equation} ({check.placement}-norm) against autograd, float64"
    return ResultTable(list(columns), rows, title=title)


def equation_words(check: EquationCheck) -> Iterator[str]:
    """Say whether the equation holds, and what Question 16's argument leaves out."""
    verdict = "holds" if check.holds else "FAILS"
    yield (
        f"Equation {check.equation} {verdict}: largest difference "
        f"{check.largest_difference:.1e}, allowed {check.tolerance:.0e}."
    )
    first = check.steps[0]
    if check.placement == "post":
        above = "exceeds 1" if check.largest_lambda > 1 else "stays below 1"
        yield (
            f"Question 16: the largest lambda is {number(check.largest_lambda)} and {above}. The "
            f"true gradient at the input is {number(first.gradient)}. The product of all "
            f"{len(check.steps)} lambdas (the assignment writes one factor fewer) gives "
            f"{number(first.lambda_product)}, no bound, since sigma(I+J_A) > 1 is left out; with "
            f"it the bound is {number(first.full_bound)}."
        )
    else:
        yield (
            f"With the skip path's 1 in every factor the gradient at the input is "
            f"{number(first.gradient)}, at the output {number(check.final_gradient)}."
        )


def lemma_table(lemmas: Lemmas) -> ResultTable:
    """Show the stream's squared norm over d by layer, and what Lemma 2 says of it."""
    columns = ["layer", "post |y|^2/d (3/2)", "pre |x|^2/d", "at least 1+l/2", "at most 1+3l/2"]
    rows = [[row.layer, row.post, row.pre, row.pre_low, row.pre_high] for row in lemmas.rows]
    title = f"Lemma 2 (Xiong et al. 2020), theorem's setting, d = {lemmas.width}"
    return ResultTable(columns, rows, title=title)


def lemma_words(lemmas: Lemmas) -> Iterator[str]:
    """Say whether the lemmas hold."""
    yield f"Lemma 2 {'holds' if lemmas.lemma2_holds else 'FAILS'} within sampling error."
    low, high = lemmas.lemma3_ratio
    yield (
        f"Lemma 3: |J_LN(x)| is {number(low)} to {number(high)} times sqrt(d)/|x| over all tokens "
        "and LayerNorms."
    )


def training_table(training: TrainingResult) -> ResultTable:
    """Show where each training ended."""
    rows = [
        [
            curve.placement,
            curve.warmup_steps,
            curve.seed,
            curve.steps[-1] if curve.steps else 0,
            curve.loss[-1] if curve.loss else None,
            curve.accuracy[-1] if curve.accuracy else None,
            curve.note or ("yes" if curve.solved else "no"),
        ]
        for curve in training.curves
    ]
    columns = ["placement", "warm-up", "seed", "updates", "loss (nats)", "accuracy", "solved"]
    title = (
        f"Training {training.depth} layers (width {training.width}, {training.heads} heads) "
        f"to {training.task} a sequence"
    )
    return ResultTable(columns, rows, title=title)


def ln_figures(result: LnGradients, path: Path, *, per_layer: bool) -> list[Path]:
    """Draw what there is: `fig.png`, and beside it `fig-layers.png` and `fig-training.png`.

    Args:
        result: what was measured.
        path: PNG, SVG or PDF of the first figure.
        per_layer: whether to draw the layers too.

    Returns:
        the absolute paths of the files written.
    """
    drawn: dict[str, Callable[[LnGradients, Path], None]] = {"": depth_figure}
    if per_layer:
        drawn["-layers"] = layer_figure
    if result.training is not None:
        drawn["-training"] = training_figure
    files = []
    for suffix, draw in drawn.items():
        files.append(path.with_name(f"{path.stem}{suffix}{path.suffix}").absolute())
        draw(result, files[-1])
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
            label = f"{name}, {profile.condition}" if several else name
            series.append(_layer_line(label, profile))
    _draw_layers(series, path, note=result.signature)


def model_figure(result: ModelGradients, path: Path) -> None:
    """Draw the same for the stacks of a trained model."""
    series = [_layer_line(name, profile) for name, profile in result.stacks.items()]
    _draw_layers(series, path, note=result.signature)


def _layer_line(name: str, profile: LayerProfile) -> Line:
    rows = profile.rows
    return Line(name=name, x=[row.layer for row in rows], y=[row.hidden for row in rows])


def _draw_layers(series: Sequence[Line], path: Path, *, note: str) -> None:
    lines(
        path,
        series,
        x_label="layer (1 is next to the input)",
        y_label="norm of dloss/dx at the layer's input",
        title="Gradient through the layers",
        log_y=True,
        note=note,
    )


def training_figure(result: LnGradients, path: Path) -> None:
    """Draw the mean loss of each kind of run with a band over its seeds."""
    training = result.training
    assert training is not None
    lines(
        path,
        [
            _mean_curve(arm.name, [curve for curve in training.curves if curve.arm == arm])
            for arm in dict.fromkeys(curve.arm for curve in training.curves)
        ],
        x_label="update",
        y_label="loss (nats per symbol)",
        title=f"{training.depth} layers, {training.task} task, bands over seeds",
        levels=[Level(name="guessing", y=training.chance_loss)],
        note=result.signature,
    )


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
