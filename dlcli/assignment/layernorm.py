"""Questions 15 and 16: where the normalisation stands, and what that does to gradients."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from dlcli.assignment.lab import Lab
from dlcli.assignment.question import Answer, Figure, Number, Text, question
from dlcli.display.plots import Line, lines
from dlcli.engine.config import resolve
from dlcli.layernorm.config import LnGradientsConfig
from dlcli.layernorm.display import depth_figure, layer_figure, training_figure
from dlcli.layernorm.equations import EquationCheck
from dlcli.layernorm.measurement import LnGradients
from dlcli.layernorm.measurement import run as measurements

FEW = {"depths": [2, 4], "seeds": 2}
"""The smallest sweep there is, where only the equations are asked for."""


@question(15)
def equations(lab: Lab, text: Text) -> Answer:
    """Hold equations 21' and 22' against autograd's Jacobians, layer by layer."""
    found = _measure(lab, equations=True, sweep=dict(FEW))
    checks = {check.equation: check for check in found.equations}
    return text.answer(
        numbers=[
            Number(
                name=f"equation {check.equation} against autograd, largest difference",
                value=check.largest_difference,
                digits=2,
                reference=f"0, but for rounding: at most {check.tolerance:g}",
                signature=found.signature,
            )
            for check in found.equations
        ],
        figures=[_factors(check, text) for check in checks.values()],
        commands=[f"dl ln-gradients --equations --depths 2 4 --seeds 2{lab.and_seed}"],
    )


def _factors(check: EquationCheck, text: Text) -> Figure:
    series = {"the gradient itself": [step.gradient for step in check.steps]}
    if check.placement == "post":
        series["bound by λ alone (the assignment's)"] = [s.lambda_product for s in check.steps]
    series["bound with all factors"] = [step.full_bound for step in check.steps]
    steps = [float(step.step) for step in check.steps]
    return text.figure(
        "factors",
        functools.partial(_factors_figure, series, steps=steps, placement=check.placement),
        placement=check.placement,
        equation=check.equation,
    )


def _factors_figure(
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


@question(16)
def depth(lab: Lab, text: Text) -> Answer:
    """Measure how the gradient changes with depth and from layer to layer."""
    sizes = lab.sizes
    sweep = {"depths": list(sizes.depths), "seeds": sizes.norm_seeds}
    found = _measure(lab, per_layer=True, train=sizes.train_stacks, sweep=sweep)
    draw = {"depth": depth_figure, "layers": layer_figure}
    if found.training is not None:
        draw["training"] = training_figure
    bare = dataclasses.replace(found, signature="")
    depths = " ".join(map(str, sizes.depths))
    train = " --train" if sizes.train_stacks else ""
    return text.answer(
        numbers=[*_slopes(found, text), *_profiles(found)],
        figures=[text.figure(name, functools.partial(one, bare)) for name, one in draw.items()],
        commands=[
            f"dl ln-gradients --depths {depths} --seeds {sizes.norm_seeds}{train}{lab.and_seed}"
        ],
    )


def _slopes(found: LnGradients, text: Text) -> list[Number]:
    return [
        Number(
            name=f"slope against depth, {name}-norm",
            value=placement.slope,
            ci95=placement.slope_ci95,
            spread=f"95% interval over {found.seeds} seeds",
            digits=2,
            reference=text.published(name),
            signature=found.signature,
        )
        for name, placement in found.placements.items()
    ]


def _profiles(found: LnGradients) -> list[Number]:
    return [
        Number(
            name=f"gradient at the first layer over that at the last, {name}-norm",
            value=profile.first_to_last,
            digits=3,
            reference="below 1 it vanishes on its way",
            signature=found.signature,
        )
        for name, placement in found.placements.items()
        for profile in placement.profiles[:1]
    ]


def _measure(lab: Lab, **changes: object) -> LnGradients:
    *_, found = measurements(resolve(LnGradientsConfig, [{"compute": lab.compute, **changes}]))
    return found
