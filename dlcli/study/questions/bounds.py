"""Questions 4 and 5: the ELBO is a bound, and what becomes of the bound during training."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from dlcli.engine.runs import RunFolder
from dlcli.report.evaluated import snapshots_figure
from dlcli.report.page.figures import bounds_figure
from dlcli.study.eval_config import VaeEvalConfig
from dlcli.study.evaluation_result import Nll, SnapshotBounds, VaeEvaluation
from dlcli.study.questions.answer import Answer, Number
from dlcli.study.questions.drawing import figure
from dlcli.study.questions.lab import Lab, Subject
from dlcli.study.questions.question import Question
from dlcli.study.questions.training import workshop_command, workshop_run
from dlcli.study.vae_evaluation import run as evaluations
from dlcli.vae.trained import load_trained

PUBLISHED = (
    "86.76 (VAE) and 84.78 (IWAE, k = 50), one stochastic layer, trained on binarised pixels: "
    "Burda et al. 2016"
)


BEST = "82.90 (IWAE, k = 50), two stochastic layers: Burda et al. 2016"


def answer(lab: Lab) -> Answer:
    """Bound log p(x) from below with more and more samples."""
    subject, sizes = lab.subjects[0], lab.sizes
    binary = [each for each in lab.subjects[1:] if each.trained.config.data.binarize != "none"]
    found = evaluate(lab, subject, images=sizes.eval_images, k=sizes.eval_k)
    nll = found.nll or found.nll_binarized
    assert nll is not None, "an evaluation has bounds"
    line = subject.signed(found.signature)
    return Answer(
        words=(
            "A divergence is never negative, so log p(x) minus one is a lower bound of log p(x); "
            "it can be written without the intractable posterior, and that is the whole point. "
            "One trains on the bound because the thing itself is an integral.",
            "That it is a bound can be watched: averaging k importance weights inside the "
            "logarithm tightens it step by step towards log p(x), and never beyond (in "
            "expectation). What separates the first point from the last is the least that the "
            "ELBO gives away. Pixels are binarised at random here, since a Bernoulli model has no "
            "density of grey ones.",
        ),
        formula="log p(x) = ELBO + KL(q(z|x) ‖ p(z|x)) ≥ ELBO",
        numbers=(
            *_bounds(nll, signature=line),
            Number(
                name=f"gap between ELBO and IWAE-{nll.k:,}, the same images",
                value=found.gap,
                error=found.gap_std_error,
                spread="standard error over images",
                unit="nats",
                reference="≥ 0",
                signature=line,
            ),
            *(_of_another(lab, other) for other in binary),
        ),
        figures=(
            figure(
                functools.partial(
                    bounds_figure,
                    samples=[bound.samples for bound in nll.bounds],
                    values=[bound.value for bound in nll.bounds],
                    errors=[bound.std_error or 0.0 for bound in nll.bounds],
                ),
                alt="The lower bound of log p(x) rising with the number of samples k, from the "
                "ELBO at k = 1, ever more slowly.",
                caption=f"`{subject.name}`, {found.images} test images of {found.data}: the bound "
                "rises with k. The band is one standard error over images, which all points "
                "share.",
            ),
        ),
        commands=tuple(
            f"dl vae eval --run {each.name} --k {sizes.eval_k} "
            f"--images {sizes.eval_images}{lab.and_seed}"
            for each in (subject, *binary)
        ),
        notes=tuple(filter(None, [each.note for each in (subject, *binary)])),
    )


def _of_another(lab: Lab, subject: Subject) -> Number:
    """Bound log p(x) under a model that was trained on binarised pixels, on the same images."""
    sizes, model = lab.sizes, subject.trained.config.model
    found = evaluate(lab, subject, images=sizes.eval_images, k=sizes.eval_k)
    assert found.nll is not None, "its pixels are black and white"
    prior = ", with a learned prior" if model.prior == "flow" else ""
    return Number(
        name=f"−IWAE-{found.nll.k} of `{subject.name}`, trained on binarised pixels{prior}",
        value=found.nll.value,
        error=found.nll.std_error,
        spread="standard error over images",
        unit="nats",
        reference=BEST,
        signature=subject.signed(found.signature),
    )


def evaluate(
    lab: Lab, subject: Subject, *, images: int, k: int, snapshots: bool = False, judge: int = 0
) -> VaeEvaluation:
    """Do what `dl vae eval` does."""
    config = VaeEvalConfig(
        k=k,
        images=images,
        checkpoints="all" if snapshots else "none",
        checkpoints_k=k,
        judge=judge > 0,
        judge_images=judge or 1,
        device=lab.device,
        seed=lab.seed,
        threads=lab.threads,
    )
    *_, found = evaluations(subject.trained, config, notice=lab.notice)
    return found


def _bounds(nll: Nll, *, signature: str) -> list[Number]:
    last = len(nll.bounds) - 1
    return [
        Number(
            name=f"−{bound.name}" + (", which is NLL at most" if place == last else ""),
            value=-bound.value,
            error=bound.std_error,
            spread="standard error over images",
            unit="nats",
            reference=PUBLISHED if place == last else "",
            signature=signature,
        )
        for place, bound in enumerate(nll.bounds)
        if place in (0, last)
    ]


def through_training(lab: Lab) -> Answer:
    """Follow the bound and its gap through the snapshots of one training."""
    sizes = lab.sizes
    run = RunFolder(Path(workshop_run(lab).run))
    subject = lab.subject(load_trained(run), name="RUN")
    found = evaluate(lab, subject, images=sizes.snapshot_images, k=sizes.snapshot_k, snapshots=True)
    return Answer(
        words=(
            "The bound can rise for two reasons. Either log p(x) rises, and the generator has "
            "become better; or the gap shrinks, and q has merely come closer to the posterior it "
            "stands in for. The second has a floor: a divergence cannot fall below zero, so what "
            "can be won that way is limited to the gap there is.",
            _shares(found),
        ),
        formula="Δ ELBO = Δ log p(x) − Δ KL(q(z|x) ‖ p(z|x))",
        numbers=tuple(
            number
            for row in found.checkpoints
            for number in _snapshot(row, signature=subject.signed(found.signature))
        ),
        figures=(
            figure(
                functools.partial(snapshots_figure, dataclasses.replace(found, signature="")),
                alt="Three curves over epochs: minus the ELBO and the bound on the NLL fall "
                "together, far above the small gap between them.",
                caption=f"−ELBO, the NLL's bound, and their gap on {found.images} test images of "
                f"{found.data}, after {', '.join(str(row.epoch) for row in found.checkpoints)} "
                "epochs.",
            ),
        ),
        commands=(
            workshop_command(lab),
            f"dl vae eval --run RUN --checkpoints all --checkpoints-k {sizes.snapshot_k} "
            f"--k {sizes.snapshot_k} --images {sizes.snapshot_images}{lab.and_seed}",
        ),
        notes=tuple(filter(None, [subject.note])),
    )


def _shares(found: VaeEvaluation) -> str:
    """Say how the bound's rise between the first snapshot and the last divides."""
    first, last = found.checkpoints[0], found.checkpoints[-1]
    rise = last.elbo.value - first.elbo.value
    gain = last.iwae.value - first.iwae.value
    return (
        f"Between epoch {first.epoch} and epoch {last.epoch} of the training below the ELBO "
        f"changed by {rise:+.1f} nats an image, the tighter bound IWAE-{last.k} (which stands for "
        f"log p(x) here) by {gain:+.1f}, and the gap between the two by {gain - rise:+.1f}."
    )


def _snapshot(row: SnapshotBounds, *, signature: str) -> tuple[Number, Number]:
    spread = "standard error over images"
    return (
        Number(
            name=f"NLL at most, after {row.epoch} epochs",
            value=-row.iwae.value,
            error=row.iwae.std_error,
            spread=spread,
            unit="nats",
            signature=signature,
        ),
        Number(
            name=f"gap, after {row.epoch} epochs",
            value=row.gap.value,
            error=row.gap.std_error,
            spread=spread,
            unit="nats",
            reference="≥ 0",
            signature=signature,
        ),
    )


QUESTION = Question(
    number=4,
    chapter="Variational auto-encoders",
    title="A bound that can be trained on",
    asks="Why is the ELBO a lower bound of log p(x), and why optimise it rather than log p(x)?",
    answer=answer,
    needs=("vae", "images"),
)
TRAINING = Question(
    number=5,
    chapter="Variational auto-encoders",
    title="Two ways for the bound to rise",
    asks="When the bound goes up in training, what may have happened?",
    answer=through_training,
)
