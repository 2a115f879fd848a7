"""Question 9: a small fully connected network, and which optimiser and rate train it."""

from __future__ import annotations

import functools
from pathlib import Path

from dlcli.engine.runs import RunFolder
from dlcli.report.curves import compare_curves
from dlcli.study.questions.answer import Answer, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question
from dlcli.study.questions.stored import stored_loss
from dlcli.study.runs import curve_of
from dlcli.vae.config import VaeTrainConfig
from dlcli.vae.result import TrainResult

OPTIMISERS = ("adam", "sgd")
RATES = (1e-4, 1e-3, 1e-2)
PUBLISHED = (
    "105.56–105.59, 784-400-20, 10 epochs: pytorch/examples' own logs; 102.4 ± 0.15, the "
    "assignment's sizes in a plain loop"
)


def workshop_run(lab: Lab) -> TrainResult:
    """Train the report's own fully connected network, with snapshots."""
    return lab.published("mlp")


def workshop_command(lab: Lab) -> str:
    """Return the command of that training."""
    config = lab.vae_config({})
    snapshots = " ".join(map(str, lab.sizes.snapshots))
    return (
        f"dl vae train --data {config.data.name} --epochs {lab.sizes.epochs} "
        f"--snapshots {snapshots}{lab.and_seed}"
    )


def answer(lab: Lab) -> Answer:
    """Train a grid of optimisers and learning rates."""
    sizes = lab.sizes
    cells = {
        (optimiser, rate): lab.train(f"grid-{optimiser}-{rate:g}", _cell(lab, optimiser, rate))
        for optimiser in OPTIMISERS
        for rate in RATES
    }
    best = max(cells, key=lambda cell: cells[cell].test.elbo)
    data = next(iter(cells.values())).data
    curves = {
        f"{optimiser} {rate:g}": curve_of(RunFolder(Path(found.run)))
        for (optimiser, rate), found in cells.items()
    }
    limit = f" --train-images {sizes.grid_images}" if sizes.grid_images else ""
    return Answer(
        words=(
            "Encoder and decoder have one hidden layer of 350 units each; between them are 20 "
            "latents, and the decoder ends in logits, whose cross-entropy is computed in one "
            "stable piece. Batches are of 64 images.",
            f"The assignment trains with Adam at 10⁻³. In the grid below, the same network on the "
            f"same images in the same order, the best of the six is "
            f"{best[0].capitalize() if best[0] == 'adam' else best[0].upper()} at {best[1]:g}. "
            "Plain gradient descent wants a larger rate and more patience; Adam rescales every "
            "gradient by its own history and is much less particular.",
        ),
        numbers=(
            *(_loss(found, *cell) for cell, found in cells.items()),
            *(
                number
                for subject in lab.subjects
                if subject.trained.config.model.arch == "mlp"
                for number in stored_loss(
                    subject.trained.run,
                    name=f"−ELBO on {subject.own}, `{subject.name}`",
                    reference=PUBLISHED,
                )
            ),
        ),
        figures=(
            figure(
                functools.partial(compare_curves, curves=curves, title="training loss of the grid"),
                alt="Training loss against epochs for Adam and SGD at three learning rates each.",
                caption=f"Training loss of the six cells ({data}, {sizes.grid_epochs} epochs).",
            ),
        ),
        commands=(
            f"dl vae compare --data {lab.vae_config({}).data.name}{limit} "
            f"--epochs {sizes.grid_epochs} --snapshots none{lab.and_seed} --set "
            "optim.optimizer=adam,sgd optim.lr=1.0e-4,1.0e-3,1.0e-2",
        ),
        notes=_note(lab),
    )


def _note(lab: Lab) -> tuple[str, ...]:
    if lab.sizes.trained_here:
        return ()
    return (
        f"A quick report trains on {lab.sizes.train_data} (digits that the package draws itself), "
        f"{lab.sizes.grid_epochs} epochs a cell: the order of the cells is what to look at, not "
        "the losses, which no published figure is of. `dl report --full` trains on MNIST.",
    )


def _cell(lab: Lab, optimiser: str, rate: float) -> VaeTrainConfig:
    return lab.vae_config(
        {
            "data": {"train_images": lab.sizes.grid_images},
            "loop": {"epochs": lab.sizes.grid_epochs},
            "optim": {"optimizer": optimiser, "lr": rate},
        }
    )


def _loss(found: TrainResult, optimiser: str, rate: float) -> Number:
    return Number(
        name=f"test −ELBO, {optimiser} at {rate:g} ({found.active_units} active units)",
        value=-found.test.elbo,
        error=found.test.std_error,
        spread="standard error over test images",
        unit="nats",
        signature=found.signature,
    )


QUESTION = Question(
    number=9,
    chapter="Variational auto-encoders",
    title="A small network and how to train it",
    asks="Which architecture, optimiser, learning rate and batch size train a first VAE?",
    answer=answer,
    needs=("vae",),
)
