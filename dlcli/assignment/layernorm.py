"""Questions 15 and 16: where the normalisation stands, and what that does to gradients."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

from dlcli.assignment.lab import Lab
from dlcli.assignment.question import Command, Number, Part, Text, question
from dlcli.display.plots import Line, lines
from dlcli.engine.config import resolve
from dlcli.layernorm.config import LnGradientsConfig
from dlcli.layernorm.display import depth_figure, layer_figure, training_figure
from dlcli.layernorm.equations import EquationCheck
from dlcli.layernorm.measurement import LnGradients
from dlcli.layernorm.measurement import run as measurements


@question(15)
def equations(lab: Lab, text: Text) -> Iterator[Part]:
    """Hold equations 21' and 22' against autograd's Jacobians, layer by layer."""
    smallest = {"depths": [2, 4], "seeds": 2}  # only the equations are of interest here
    found = _measure(lab, equations=True, sweep=smallest)
    for check in {check.equation: check for check in found.equations}.values():
        yield text.figure(
            "factors",
            functools.partial(_factors_figure, check),
            placement=check.placement,
            equation=check.equation,
        )
    for check in found.equations:
        yield Number(
            f"equation {check.equation} against autograd, largest difference",
            check.largest_difference,
            "",
            found.signature,
            digits=2,
            reference=f"0, but for rounding: at most {check.tolerance:g}",
        )
    yield Command(f"dl ln-gradients --equations --depths 2 4 --seeds 2{lab.and_seed}")


def _factors_figure(check: EquationCheck, path: Path) -> None:
    """Draw a gradient's norm and its bounds at the input of every sublayer."""
    series = {"the gradient itself": [step.gradient for step in check.steps]}
    if check.placement == "post":
        series["bound by λ alone (the assignment's)"] = [s.lambda_product for s in check.steps]
    series["bound with all factors"] = [step.full_bound for step in check.steps]
    steps = [float(step.step) for step in check.steps]
    lines(
        path,
        [Line(name=name, x=steps, y=values) for name, values in series.items()],
        x_label="sublayer, counted from the input",
        y_label="norm of dloss/dx",
        title=f"{check.placement}-norm",
        log_y=True,
    )


@question(16)
def depth(lab: Lab, text: Text) -> Iterator[Part]:
    """Measure how the gradient changes with depth and from layer to layer."""
    sizes = lab.sizes
    sweep = {"depths": list(sizes.depths), "seeds": sizes.norm_seeds}
    found = _measure(lab, per_layer=True, train=sizes.train_stacks, sweep=sweep)
    draw = {"depth": depth_figure, "layers": layer_figure}
    if found.training is not None:
        draw["training"] = training_figure
    for name, one in draw.items():
        yield text.figure(name, functools.partial(one, dataclasses.replace(found, signature="")))
    for name, placement in found.placements.items():
        yield Number(
            f"slope against depth, {name}-norm",
            placement.slope,
            "",
            found.signature,
            ci95=placement.slope_ci95,
            spread=f"95% interval over {found.seeds} seeds",
            digits=2,
            reference=text.published(name),
        )
    for name, placement in found.placements.items():
        for profile in placement.profiles[:1]:
            yield Number(
                f"gradient at the first layer over that at the last, {name}-norm",
                profile.first_to_last,
                "",
                found.signature,
                digits=3,
                reference="below 1: it shrinks on its way down",
            )
    depths = " ".join(map(str, sizes.depths))
    train = " --train" if sizes.train_stacks else ""
    yield Command(
        f"dl ln-gradients --depths {depths} --seeds {sizes.norm_seeds}{train}{lab.and_seed}"
    )


def _measure(lab: Lab, **changes: object) -> LnGradients:
    *_, found = measurements(resolve(LnGradientsConfig, [{"compute": lab.compute, **changes}]))
    return found
