"""Question 8: a gradient through a random draw, in two ways."""

from __future__ import annotations

import functools
from pathlib import Path

from dlcli.engine.runs import RunFolder
from dlcli.report.page.figures import variance_figure
from dlcli.study.questions.answer import Answer, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question
from dlcli.study.questions.training import workshop_command, workshop_run
from dlcli.vae.gradients import Contrast
from dlcli.vae.pictures import gradients_of
from dlcli.vae.trained import load_trained


def answer(lab: Lab) -> Answer:
    """Measure how much both estimators of the encoder's gradient scatter."""
    sizes = lab.sizes
    run = RunFolder(Path(workshop_run(lab).run))
    subject = lab.subject(load_trained(run), name="RUN")
    found, signature = gradients_of(
        subject.trained,
        images=sizes.gradient_images,
        samples=sizes.gradient_samples,
        seed=lab.seed,
        offline=lab.offline,
        notice=lab.notice,
    )
    line = subject.signed(signature)
    outputs = found.outputs
    variances = {
        "score function": outputs.score.variance,
        "score function, best baseline": outputs.score_baseline.variance,
        "pathwise (reparametrised)": outputs.pathwise.variance,
    }
    return Answer(
        words=(
            "The reconstruction term depends on the encoder through a *draw*, and a draw has no "
            "derivative. Writing it as z = μ + σ·ε moves the randomness into ε, which does not "
            "depend on the encoder, and leaves a sum and a product that do: the gradient flows.",
            "It is not the only way out. The score function estimates the same gradient without "
            "differentiating the decoder at all. Both are right on average; what differs is how "
            "far a single draw is from that average.",
        ),
        formula="z = μ(x) + σ(x) ⊙ ε,   ε ~ N(0, I)",
        numbers=(
            _ratio("score function", outputs.against_score, signature=line),
            _ratio("with its best baseline", outputs.against_baseline, signature=line),
        ),
        figures=(
            figure(
                functools.partial(variance_figure, variances),
                alt="Three bars on a logarithmic scale: the score function's variance is the "
                "largest, its best baseline lowers it, and the pathwise one is the smallest.",
                caption=f"Variance of one draw's gradient of the encoder's outputs, "
                f"{found.images} images and {found.samples} draws of each kind.",
            ),
        ),
        commands=(
            workshop_command(lab),
            f"dl vae gradients --run RUN --images {found.images} "
            f"--samples {found.samples}{lab.and_seed}",
        ),
        notes=tuple(filter(None, [subject.note])),
    )


def _ratio(name: str, found: Contrast, *, signature: str) -> Number:
    agrees = "means agree" if found.agrees else "means DISAGREE"
    return Number(
        name=f"variance, {name}, over the pathwise one ({agrees})",
        value=found.ratio,
        ci95=found.ratio_ci95,
        spread="95% interval by bootstrap",
        unit="times",
        digits=3,
        signature=signature,
    )


QUESTION = Question(
    number=8,
    chapter="Variational auto-encoders",
    title="A gradient through a draw",
    asks="z is drawn at random. How does a gradient get from the decoder back to the encoder?",
    answer=answer,
)
