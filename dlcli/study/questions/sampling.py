"""Question 1: drawing an image from the model, z first and then x given z."""

from __future__ import annotations

import functools
import math

import numpy as np

from dlcli.report.grids import image_grid
from dlcli.study.ancestral import AncestralSample, ancestral_sample, draw_latents
from dlcli.study.questions.answer import Answer, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question
from dlcli.study.sampling import of_run

COUNT, DRAWS, SHOWN = 200, 4, 10


def answer(lab: Lab) -> Answer:
    """Draw latents, decode them, and draw pixels from what they decode to."""
    subject = lab.subjects[0]
    source = of_run(subject.trained)
    latents = draw_latents(source.model, count=COUNT, seed=lab.seed)
    made = ancestral_sample(
        source.model, latents, draws=DRAWS, seed=lab.seed, likelihood=source.likelihood
    )
    signature = source.signature(count=COUNT, draws=DRAWS, seed=lab.seed, file=None)
    D = made.z.shape[1]
    rows = np.concatenate([made.means[:, None], made.draws], axis=1)[:SHOWN].swapaxes(0, 1)
    names = ("mean", *(f"draw {number + 1}" for number in range(DRAWS)))
    return Answer(
        words=(
            "Sampling needs no inference. The model is a directed graph with one arrow, from z to "
            "x, so one follows the arrow: draw z from the standard normal, send it through the "
            "decoder f, and let each pixel be white with the probability that f(z) gives it. Both "
            "draws are one line of code, and what comes out has exactly the distribution p(x).",
            "The figure shows the two steps apart. A column is one z. Its top row is f(z), the "
            "*mean* of p(x|z), which is what most papers print; below it are true draws of x. They "
            "are grainier, because given z the pixels are independent.",
        ),
        formula="z ~ N(0, I),   x_m | z ~ Bernoulli(f(z)_m)",
        numbers=(
            Number(
                name=f"log N(z; 0, I), mean of {COUNT} draws",
                value=float(np.mean(made.log_prior)),
                error=math.sqrt(D / 2 / COUNT),
                unit="nats",
                reference=f"exactly −(D/2) log 2πe = {-D / 2 * math.log(2 * math.pi * math.e):.2f}",
                signature=signature,
            ),
            _ink(made, signature=signature),
        ),
        figures=(
            figure(
                functools.partial(image_grid, images=rows, row_labels=names),
                alt=f"A grid of digits: {SHOWN} columns, one a latent. The first row shows smooth "
                "grey means, the four rows below black and white draws of the same digits.",
                caption=f"{SHOWN} latents from the prior, the mean of p(x|z) for each, and "
                f"{DRAWS} draws from it.",
                is_picture=True,
            ),
        ),
        commands=(
            f"dl sample --run {subject.name} --n {COUNT} --draws {DRAWS} --json{lab.and_seed}",
        ),
    )


def _ink(made: AncestralSample, *, signature: str) -> Number:
    """Hold the drawn pixels against the means that they were drawn from."""
    means = made.means.astype(np.float64)
    S = made.draws.shape[1]
    error = math.sqrt(float((means * (1 - means)).sum()) / S) / means.size
    return Number(
        name="share of white pixels among the draws",
        value=100 * float(made.draws.mean()),
        error=100 * error,
        unit="%",
        reference=f"{100 * means.mean():.3f} % by the decoder's means of the same z",
        signature=signature,
    )


QUESTION = Question(
    number=1,
    chapter="Variational auto-encoders",
    title="Sampling an image",
    asks="How does one draw an image from p(x), when p(x) itself is an integral over z?",
    answer=answer,
    needs=("vae",),
)
