"""Questions 15 and 16: where the normalisation stands, and what that does to gradients."""

from __future__ import annotations

import dataclasses
import functools

from dlcli.assignment.lab import Lab
from dlcli.assignment.page import factors_figure
from dlcli.assignment.question import Answer, Figure, Number, Question, figure
from dlcli.engine.config import resolve
from dlcli.layernorm.config import LnGradientsConfig
from dlcli.layernorm.display import depth_figure, layer_figure, training_figure
from dlcli.layernorm.equations import EquationCheck
from dlcli.layernorm.measurement import LnGradients
from dlcli.layernorm.measurement import run as measurements

FEW = {"depths": [2, 4], "seeds": 2}
"""The smallest sweep there is, where only the equations are asked for."""
THEOREM = {
    "post": "0 (O(d √ln d), independent of depth): Theorem 1 of Xiong et al. 2020",
    "pre": "−1/2 (O(d √(ln d / L))): Theorem 1 of Xiong et al. 2020",
}


def _measure(lab: Lab, **changes: object) -> LnGradients:
    place = {"seed": lab.seed, "threads": lab.threads, "device": lab.device}
    *_, found = measurements(resolve(LnGradientsConfig, [{"compute": place, **changes}]))
    return found


def equations(lab: Lab) -> Answer:
    """Hold equations 21' and 22' against autograd's Jacobians, layer by layer."""
    found = _measure(lab, equations=True, sweep=dict(FEW))
    checks = {check.equation: check for check in found.equations}
    return Answer(
        words=(
            "The chain rule writes the gradient at layer l as a product over all layers above it. "
            "With the normalisation *after* the sum, every factor of that product carries the "
            "Jacobian of a LayerNorm. With the normalisation *inside* the branch, every factor is "
            "1 plus something: multiplied out, one term is the gradient of the loss itself, "
            "untouched by anything in between.",
            "Both equations are checked here in full: the Jacobians of a stack are built in "
            "float64 from the equations and by automatic differentiation, and must agree.",
        ),
        formula="post (21'):  ∂x_{l+1}/∂x_l = J_LN · (1 + J_A)      "
        "pre (22'):  ∂x_{l+1}/∂x_l = 1 + J_A · J_LN",
        numbers=tuple(
            Number(
                name=f"equation {check.equation} against autograd, largest difference",
                value=check.largest_difference,
                digits=2,
                reference=f"0, but for rounding: at most {check.tolerance:g}",
                signature=found.signature,
            )
            for check in found.equations
        ),
        figures=tuple(_factors(check) for check in checks.values()),
        commands=(f"dl ln-gradients --equations --depths 2 4 --seeds 2{lab.and_seed}",),
    )


def _factors(check: EquationCheck) -> Figure:
    steps = [float(step.step) for step in check.steps]
    series = {"the gradient itself": [step.gradient for step in check.steps]}
    if check.placement == "post":
        series["bound by λ alone (the assignment's)"] = [s.lambda_product for s in check.steps]
    series["bound with all factors"] = [step.full_bound for step in check.steps]
    return figure(
        functools.partial(factors_figure, series, steps=steps, placement=check.placement),
        alt="Norm of the gradient at the input of every sublayer, on a logarithmic scale, below "
        "the bound that all factors together give.",
        caption=f"{check.placement}-norm, equation {check.equation}: the gradient at the input of "
        "each sublayer, and what the factors above it allow.",
    )


def depth(lab: Lab) -> Answer:
    """Measure how the gradient changes with depth and from layer to layer."""
    sizes = lab.sizes
    sweep = {"depths": list(sizes.depths), "seeds": sizes.norm_seeds}
    found = _measure(lab, per_layer=True, train=sizes.train_stacks, sweep=sweep)
    bare = dataclasses.replace(found, signature="")
    figures = [
        figure(
            functools.partial(depth_figure, bare),
            alt="Gradient norm against depth on two logarithmic axes: flat for post-norm, falling "
            "with slope minus one half for pre-norm.",
            caption="Gradient of the last layer's second matrix at initialisation, against depth.",
        ),
        figure(
            functools.partial(layer_figure, bare),
            alt="Gradient norm at the input of each of 18 layers.",
            caption="The gradient on its way through one deep stack.",
        ),
    ]
    if found.training is not None:
        figures.append(
            figure(
                functools.partial(training_figure, bare),
                alt="Training loss of deep stacks with and without warm-up.",
                caption="Deep stacks on a sequence task, with and without warm-up.",
            )
        )
    depths = " ".join(map(str, sizes.depths))
    train = " --train" if sizes.train_stacks else ""
    return Answer(
        words=(
            "If every LayerNorm shrank the gradient by a factor λ < 1, a deep post-norm stack "
            "would starve its first layers, like λ to the power of its depth. The assignment's "
            "bound drops the other factor, which can be larger than one and does much of the "
            "compensating (see the figures of Question 15); the danger is real all the same, and "
            "a true skip path is free of it.",
            "What is proved is something else, about the *last* layer at initialisation: with "
            "post-norm its gradient stays as large however deep the stack is, with pre-norm it "
            "falls like 1/√L. That is why post-norm needs a warm-up of the learning rate and "
            "pre-norm does not. A theorem of upper bounds cannot be proved by measuring; the "
            "slopes below are consistent with it or they are not.",
        ),
        formula="‖∂loss/∂W_L‖ ≤ O(d √ln d)  (post),   O(d √(ln d / L))  (pre)",
        numbers=tuple(_slopes(found)),
        figures=tuple(figures),
        commands=(
            f"dl ln-gradients --depths {depths} --seeds {sizes.norm_seeds}{train}{lab.and_seed}",
        ),
    )


def _slopes(found: LnGradients) -> list[Number]:
    numbers = [
        Number(
            name=f"slope against depth, {name}-norm",
            value=placement.slope,
            ci95=placement.slope_ci95,
            spread=f"95% interval over {found.seeds} seeds",
            digits=2,
            reference=THEOREM.get(name, ""),
            signature=found.signature,
        )
        for name, placement in found.placements.items()
    ]
    for name, placement in found.placements.items():
        for profile in placement.profiles[:1]:
            numbers.append(
                Number(
                    name=f"gradient at the first layer over that at the last, {name}-norm",
                    value=profile.first_to_last,
                    digits=3,
                    reference="below 1 it vanishes on its way",
                    signature=found.signature,
                )
            )
    return numbers


EQUATIONS = Question(
    number=15,
    chapter="Layer normalisation",
    title="One in every factor",
    asks="How does the gradient pass through a residual layer, with LayerNorm after or inside it?",
    answer=equations,
)
DEPTH = Question(
    number=16,
    chapter="Layer normalisation",
    title="Deep stacks",
    asks="What does the place of the LayerNorm mean for very deep networks?",
    answer=depth,
)
