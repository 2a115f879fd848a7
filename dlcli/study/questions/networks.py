"""Question 11: a convolutional VAE, with batch normalisation, and without skip connections."""

from __future__ import annotations

import functools
from pathlib import Path

from dlcli.engine.runs import RunFolder
from dlcli.report.grids import snapshots
from dlcli.study.questions.answer import Answer, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab
from dlcli.study.questions.question import Question
from dlcli.study.questions.stored import stored_loss
from dlcli.vae.gallery import Array
from dlcli.vae.pictures import sample_pictures
from dlcli.vae.result import TrainResult
from dlcli.vae.trained import load_trained

NETWORKS: dict[str, tuple[dict[str, object], str]] = {
    "with batch norm": ({}, ""),
    "no batch norm": ({"norm": "none"}, " --norm none"),
    "with skips (cheating)": ({"skip": True}, " --skip"),
}
"""Name → what differs from `--arch conv`, as settings and as flags."""
PICTURES = 36
PROTOTYPE = "99.5 after 10, 97.4 after 20 epochs: a plain prototype of 0.45 M parameters"


def answer(lab: Lab) -> Answer:
    """Train three convolutional networks that differ in one setting each."""
    found = {name: lab.train(f"conv-{place}", lab.vae_config(_changes(lab, settings)))
             for place, (name, (settings, _)) in enumerate(NETWORKS.items())}  # fmt: skip
    sizes, data = lab.sizes, next(iter(found.values())).data
    base = f"dl vae train --arch conv --data {lab.vae_config({}).data.name}"
    limit = f" --train-images {sizes.conv_images}" if sizes.conv_images else ""
    return Answer(
        words=(
            "Convolutions with pooling bring 28 × 28 pixels down to a single point with many "
            "features, transposed ones lead back. The U-Net's skip connections have to go: they "
            "carry the image around the latents, so the loss becomes splendid, the KL term falls "
            "to nothing, and the decoder has learnt to copy rather than to draw. Asked to generate "
            "it has nothing to copy.",
            "The assignment could not train such a network without batch normalisation. It does "
            "train here, only much more slowly.",
        ),
        numbers=(
            *(
                number
                for subject in lab.subjects
                if subject.trained.config.model.arch == "conv"
                for number in stored_loss(
                    subject.trained.run,
                    name=f"−ELBO on {subject.own}, {subject.learnt}, `{subject.name}`",
                    reference=PROTOTYPE if subject.trained.config.data.binarize == "none" else "",
                )
            ),
            *(number for name, result in found.items() for number in _numbers(result, name)),
        ),
        figures=(
            figure(
                functools.partial(
                    snapshots, panels={name: _samples(lab, one) for name, one in found.items()}
                ),
                alt="Three panels of generated pictures, one a network: with batch normalisation, "
                "without it, and with skip connections.",
                caption=f"Means of p(x|z) for the same {PICTURES} draws from the prior ({data}, "
                f"{sizes.conv_images or 'all'} images, {sizes.conv_epochs} epochs).",
                is_picture=True,
            ),
        ),
        commands=tuple(
            f"{base}{limit} --epochs {sizes.conv_epochs} --snapshots none{flags}{lab.and_seed}"
            for _, flags in NETWORKS.values()
        ),
        notes=_note(lab),
    )


def _note(lab: Lab) -> tuple[str, ...]:
    if lab.sizes.trained_here:
        return ()
    return (
        f"A quick report trains the three on {lab.sizes.conv_images:,} images for "
        f"{lab.sizes.conv_epochs} epochs, a first look; `dl report --full` gives them more.",
    )


def _changes(lab: Lab, settings: dict[str, object]) -> dict[str, object]:
    return {
        "data": {"train_images": lab.sizes.conv_images},
        "loop": {"epochs": lab.sizes.conv_epochs},
        "model": {"arch": "conv", **settings},
    }


def _samples(lab: Lab, found: TrainResult) -> Array:
    trained = load_trained(RunFolder(Path(found.run)))
    return sample_pictures(trained, count=PICTURES, seed=lab.seed).images


def _numbers(found: TrainResult, name: str) -> tuple[Number, Number]:
    units = f"{found.active_units} active units"
    return (
        Number(
            name=f"test −ELBO, {name}",
            value=-found.test.elbo,
            error=found.test.std_error,
            spread="standard error over test images",
            unit="nats",
            signature=found.signature,
        ),
        Number(
            name=f"of this KL, {name} ({units})",
            value=found.test.kl,
            unit="nats",
            signature=found.signature,
        ),
    )


QUESTION = Question(
    number=11,
    chapter="Variational auto-encoders",
    title="Convolutions, and a network that cheats",
    asks="Which convolutional network makes a better VAE, and why not simply a U-Net?",
    answer=answer,
    needs=("vae",),
)
