"""Question 6: what each of the two terms of the loss is for, by weighing one differently."""

from __future__ import annotations

import functools
from pathlib import Path

from dlcli.engine.runs import RunFolder
from dlcli.report.grids import snapshots
from dlcli.study.questions.answer import Answer, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question
from dlcli.vae.gallery import Array
from dlcli.vae.pictures import sample_pictures
from dlcli.vae.result import TrainResult
from dlcli.vae.trained import load_trained

BETAS = (0.0, 1.0, 10.0)
PICTURES = 36


def answer(lab: Lab) -> Answer:
    """Train the same network with no, with the usual and with ten times the regulariser."""
    found = {
        beta: lab.train(f"beta-{beta:g}", lab.vae_config(_changes(lab, beta))) for beta in BETAS
    }
    panels = {f"β = {beta:g}": _samples(lab, result) for beta, result in found.items()}
    sizes, data = lab.sizes, found[1.0].data
    limit = f" --train-images {sizes.grid_images}" if sizes.grid_images else ""
    return Answer(
        words=(
            "The first term asks that z drawn from q(z|x) be decoded to x again: it makes the "
            "latents say something. The second asks that q(z|x) stay close to the prior: it makes "
            "what they say cheap, and it makes sure that a z from the prior is one the decoder has "
            "met. It is a regulariser, and it is what turns an auto-encoder into a generator.",
            "Weighing it by β shows both. With β = 0 reconstructions are best, yet q has wandered "
            "so far from the prior that samples are debris. With β = 10 nothing costs more than it "
            "must: the latents say next to nothing, and all pictures resemble their mean.",
        ),
        formula="L = −E_q[log p(x|z)] + β · KL(q(z|x) ‖ p(z)),   β = 1 for the bound",
        numbers=tuple(number for beta in BETAS for number in _terms(found[beta], beta)),
        figures=(
            figure(
                functools.partial(snapshots, panels=panels),
                alt="Three panels of generated pictures, one for each weight β of the second term: "
                "0, 1 and 10.",
                caption=f"Means of p(x|z) for the same {PICTURES} draws of z from the prior "
                f"({data}, {sizes.beta_epochs} epochs).",
                is_picture=True,
            ),
        ),
        commands=(
            f"dl vae compare --data {lab.vae_config({}).data.name}{limit} "
            f"--epochs {sizes.beta_epochs} --snapshots none{lab.and_seed} "
            "--set objective.beta=0.0,1.0,10.0",
            f"dl vae generate --run RUN --n {PICTURES}{lab.and_seed}",
        ),
    )


def _changes(lab: Lab, beta: float) -> dict[str, object]:
    return {
        "data": {"train_images": lab.sizes.grid_images},
        "loop": {"epochs": lab.sizes.beta_epochs},
        "objective": {"beta": beta},
    }


def _samples(lab: Lab, found: TrainResult) -> Array:
    trained = load_trained(RunFolder(Path(found.run)))
    return sample_pictures(trained, count=PICTURES, seed=lab.seed).images


def _terms(found: TrainResult, beta: float) -> list[Number]:
    units = f" ({found.active_units} active units)"
    return [
        Number(
            name=f"{what}, β = {beta:g}{units if what == 'KL' else ''}",
            value=value,
            unit="nats",
            digits=5,
            signature=found.signature,
        )
        for what, value in (("reconstruction", found.test.reconstruction), ("KL", found.test.kl))
    ]


QUESTION = Question(
    number=6,
    chapter="Variational auto-encoders",
    title="Reconstruct, and stay near the prior",
    asks="What does each of the two terms of the loss make the model do?",
    answer=answer,
)
