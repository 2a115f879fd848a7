"""Question 10: what a VAE draws, before training, early, and late."""

from __future__ import annotations

import functools
from pathlib import Path

from dlcli.engine.runs import RunFolder
from dlcli.report.grids import snapshots
from dlcli.study.ancestral import untrained_model
from dlcli.study.questions.answer import Answer, Figure, Number
from dlcli.study.questions.bounds import evaluate
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab, Subject
from dlcli.study.questions.question import Question
from dlcli.study.questions.stored import stored_loss
from dlcli.study.questions.training import workshop_command, workshop_run
from dlcli.vae.snapshots import snapshots_of, take_snapshot

JUDGE_K = 50
JUDGE_TEST_IMAGES = 20


def answer(lab: Lab) -> Answer:
    """Decode the same latents after several epochs, and with the packaged models."""
    trained = workshop_run(lab)
    kept = snapshots_of(RunFolder(Path(trained.run)))
    panels = {f"epoch {snapshot.epoch}": snapshot.gallery.images for snapshot in kept}
    epochs = ", ".join(str(snapshot.epoch) for snapshot in kept)
    own = figure(
        functools.partial(snapshots, panels=panels),
        alt=f"Panels of 64 pictures each after {epochs} epochs: first grey noise, then digits.",
        caption=f"The fully connected network after {epochs} epochs on "
        f"{trained.data}; the same z in every panel.",
        is_picture=True,
    )
    return Answer(
        words=(
            "The same 64 draws of z are decoded after each number of epochs, so that the panels "
            "can be compared picture by picture. Before training the decoder answers with grey "
            "noise. A few epochs teach it that the border is black and that ink comes in strokes; "
            "most of the rest is polish.",
            "Some pictures stay between two digits. They must: the decoder is continuous, so on "
            "the way from the z of a 4 to that of a 9 there is something that is neither. Others "
            "are nearly empty, since black is the cheapest guess.",
        ),
        numbers=(
            *(
                number
                for subject in lab.subjects
                for number in stored_loss(
                    subject.trained.run, name=f"−ELBO on {subject.own}, `{subject.name}`"
                )
            ),
            *(number for subject in lab.subjects for number in _judged(lab, subject)),
        ),
        figures=(own, *(_before_and_after(subject) for subject in lab.subjects)),
        commands=(
            workshop_command(lab),
            *(f"dl vae generate --run {subject.name} --n 64" for subject in lab.subjects),
        ),
    )


def _before_and_after(subject: Subject) -> Figure:
    """Draw a packaged model beside the same network with random weights."""
    trained = subject.trained
    seed, likelihood = trained.config.compute.seed, trained.config.objective.likelihood
    epochs, learnt = trained.config.loop.epochs, subject.learnt
    fresh = untrained_model(trained.config.model, seed=seed)
    panels = {
        name: take_snapshot(model, seed=seed, epoch=epoch, likelihood=likelihood).gallery.images
        for name, model, epoch in (
            ("untrained", fresh, 0),
            (f"epoch {epochs}", trained.model, epochs),
        )
    }
    return figure(
        functools.partial(snapshots, panels=panels),
        alt=f"Two panels of 64 pictures: shapeless grey, and digits after {learnt}.",
        caption=f"`{subject.name}` ({trained.config.model.arch}, {subject.own}): random weights, "
        f"and after {learnt}; the same z.",
        is_picture=True,
    )


def _judged(lab: Lab, subject: Subject) -> list[Number]:
    """Let a classifier say how many pictures are ambiguous; only in a full report."""
    if not lab.sizes.judge_images:
        return []
    found = evaluate(
        lab, subject, images=JUDGE_TEST_IMAGES, k=JUDGE_K, judge=lab.sizes.judge_images
    )
    assert found.ambiguity is not None, "a judge was asked for"
    generated, real = found.ambiguity.generated, found.ambiguity.real
    return [
        Number(
            name=f"ambiguous to a classifier, `{subject.name}`",
            value=100 * generated.ambiguous,
            error=100 * generated.ambiguous_std_error,
            spread="standard error over pictures",
            unit="%",
            reference=f"{100 * real.ambiguous:.1f} % of the real test digits",
            signature=subject.signed(found.signature),
        )
    ]


QUESTION = Question(
    number=10,
    chapter="Variational auto-encoders",
    title="Pictures from noise",
    asks="What do generated digits look like before training, after a few epochs, and at the end?",
    answer=answer,
    needs=("vae",),
)
