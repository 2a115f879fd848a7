"""Questions 1, 4 to 6 and 8 to 11: variational auto-encoders."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dlcli.assignment.lab import Lab, Subject, stored_signature, stored_test
from dlcli.assignment.question import Answer, Figure, Number, Text, question
from dlcli.display.images import image_grid, snapshots
from dlcli.display.plots import Line, colour, house_style, label, lines, new_figure, save_figure
from dlcli.display.runs import compare_curves
from dlcli.engine.runs import RunFolder, curve_of
from dlcli.vae.config import VaeEvalConfig
from dlcli.vae.display import snapshots_figure
from dlcli.vae.evaluation import Nll, SnapshotBounds, VaeEvaluation
from dlcli.vae.evaluation import evaluate_run as evaluations
from dlcli.vae.generation import Array, generate, snapshots_of, take_snapshot
from dlcli.vae.gradients import Contrast, compare_on_test_images
from dlcli.vae.sampling import (
    AncestralSample,
    ancestral_sample,
    draw_latents,
    of_run,
    untrained_model,
)
from dlcli.vae.trained import TrainResult, load_trained

COUNT, DRAWS, SHOWN = 200, 4, 10
"""Question 1: latents, draws of each, and how many of them are shown."""
BETAS = (0.0, 1.0, 10.0)
OPTIMISERS = ("adam", "sgd")
RATES = (1e-4, 1e-3, 1e-2)
NETWORKS: dict[str, tuple[dict[str, object], str]] = {
    "with batch norm": ({}, ""),
    "no batch norm": ({"norm": "none"}, " --norm none"),
    "with skips (cheating)": ({"skip": True}, " --skip"),
}
"""Name → what differs from `--arch conv`, as settings and as flags."""
PICTURES = 36
JUDGE_K = 50
JUDGE_TEST_IMAGES = 20
OVER_IMAGES = "standard error over images"
OVER_TEST_IMAGES = "standard error over test images"


@question(1, needs=("vae",))
def sampling(lab: Lab, text: Text) -> Answer:
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
    return text.answer(
        numbers=[
            Number(
                name=f"log N(z; 0, I), mean of {COUNT} draws",
                value=float(np.mean(made.log_prior)),
                error=math.sqrt(D / 2 / COUNT),
                unit="nats",
                reference=f"exactly −(D/2) log 2πe = {-D / 2 * math.log(2 * math.pi * math.e):.2f}",
                signature=signature,
            ),
            _ink(made, signature=signature),
        ],
        figures=[
            text.figure(
                "draws",
                functools.partial(image_grid, images=rows, row_labels=names),
                is_picture=True,
                shown=SHOWN,
                draws=DRAWS,
            )
        ],
        commands=[
            f"dl sample --run {subject.name} --n {COUNT} --draws {DRAWS} --json{lab.and_seed}"
        ],
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


@question(4, needs=("vae", "images"))
def bounds(lab: Lab, text: Text) -> Answer:
    """Bound log p(x) from below with more and more samples."""
    subject, sizes = lab.subjects[0], lab.sizes
    binary = [each for each in lab.subjects[1:] if each.trained.config.data.binarize != "none"]
    found = evaluate(lab, subject, images=sizes.eval_images, k=sizes.eval_k)
    nll = found.nll or found.nll_binarized
    assert nll is not None, "an evaluation has bounds"
    line = subject.signed(found.signature)
    return text.answer(
        numbers=[
            *_first_and_last_bound(nll, text, signature=line),
            Number(
                name=f"gap between ELBO and IWAE-{nll.k:,}, the same images",
                value=found.gap,
                error=found.gap_std_error,
                spread=OVER_IMAGES,
                unit="nats",
                reference="≥ 0",
                signature=line,
            ),
            *(_nll_of_another(lab, other, text) for other in binary),
        ],
        figures=[
            text.figure(
                "bounds",
                functools.partial(_bounds_figure, nll),
                name=subject.name,
                images=found.images,
                data=found.data,
            )
        ],
        commands=[
            f"dl vae eval --run {each.name} --k {sizes.eval_k} "
            f"--images {sizes.eval_images}{lab.and_seed}"
            for each in (subject, *binary)
        ],
        notes=[each.note for each in (subject, *binary)],
    )


def _first_and_last_bound(nll: Nll, text: Text, *, signature: str) -> list[Number]:
    last = len(nll.bounds) - 1
    return [
        Number(
            name=f"−{bound.name}" + (", which is NLL at most" if place == last else ""),
            value=-bound.value,
            error=bound.std_error,
            spread=OVER_IMAGES,
            unit="nats",
            reference=text.published("nll") if place == last else "",
            signature=signature,
        )
        for place, bound in enumerate(nll.bounds)
        if place in (0, last)
    ]


def _nll_of_another(lab: Lab, subject: Subject, text: Text) -> Number:
    """Bound log p(x) under a model that was trained on binarised pixels, on the same images."""
    found = evaluate(lab, subject, images=lab.sizes.eval_images, k=lab.sizes.eval_k)
    assert found.nll is not None, "its pixels are black and white"
    prior = ", with a learned prior" if subject.trained.config.model.prior == "flow" else ""
    return Number(
        name=f"−IWAE-{found.nll.k} of `{subject.name}`, trained on binarised pixels{prior}",
        value=found.nll.value,
        error=found.nll.std_error,
        spread=OVER_IMAGES,
        unit="nats",
        reference=text.published("best"),
        signature=subject.signed(found.signature),
    )


def _bounds_figure(nll: Nll, path: Path) -> None:
    """Draw lower bounds of log p(x) against their number of samples, with a band of one error."""
    pairs = [(bound.value, bound.std_error or 0.0) for bound in nll.bounds]
    line = Line(
        name="lower bound of log p(x)",
        x=[float(bound.samples) for bound in nll.bounds],
        y=[value for value, _ in pairs],
        low=[value - error for value, error in pairs],
        high=[value + error for value, error in pairs],
    )
    lines(
        path,
        [line],
        x_label="importance samples k (k = 1 is the ELBO)",
        y_label="nats an image",
        log_x=True,
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
        **lab.compute,
    )
    *_, found = evaluations(subject.trained, config, notice=lab.notice)
    return found


@question(5)
def bounds_in_training(lab: Lab, text: Text) -> Answer:
    """Follow the bound and its gap through the snapshots of one training."""
    sizes, subject = lab.sizes, _workshop_subject(lab)
    found = evaluate(lab, subject, images=sizes.snapshot_images, k=sizes.snapshot_k, snapshots=True)
    first, last = found.checkpoints[0], found.checkpoints[-1]
    rise = last.elbo.value - first.elbo.value
    gain = last.iwae.value - first.iwae.value
    return text.answer(
        numbers=[
            number
            for row in found.checkpoints
            for number in _snapshot(row, signature=subject.signed(found.signature))
        ],
        figures=[
            text.figure(
                "snapshots",
                functools.partial(snapshots_figure, dataclasses.replace(found, signature="")),
                images=found.images,
                data=found.data,
                epochs=", ".join(str(row.epoch) for row in found.checkpoints),
            )
        ],
        commands=[
            workshop_command(lab),
            f"dl vae eval --run RUN --checkpoints all --checkpoints-k {sizes.snapshot_k} "
            f"--k {sizes.snapshot_k} --images {sizes.snapshot_images}{lab.and_seed}",
        ],
        notes=[subject.note],
        first=first.epoch,
        last=last.epoch,
        k=last.k,
        rise=rise,
        gain=gain,
        closed=gain - rise,
    )


def _snapshot(row: SnapshotBounds, *, signature: str) -> tuple[Number, Number]:
    return (
        Number(
            name=f"NLL at most, after {row.epoch} epochs",
            value=-row.iwae.value,
            error=row.iwae.std_error,
            spread=OVER_IMAGES,
            unit="nats",
            signature=signature,
        ),
        Number(
            name=f"gap, after {row.epoch} epochs",
            value=row.gap.value,
            error=row.gap.std_error,
            spread=OVER_IMAGES,
            unit="nats",
            reference="≥ 0",
            signature=signature,
        ),
    )


def workshop_run(lab: Lab) -> TrainResult:
    """Train the report's own fully connected network, with snapshots."""
    return lab.published("mlp")


def workshop_command(lab: Lab) -> str:
    """Return the command of that training."""
    config = lab.vae_config({})
    kept = " ".join(map(str, lab.sizes.snapshots))
    return (
        f"dl vae train --data {config.data.name} --epochs {lab.sizes.epochs} "
        f"--snapshots {kept}{lab.and_seed}"
    )


def _workshop_subject(lab: Lab) -> Subject:
    return lab.subject(load_trained(RunFolder(Path(workshop_run(lab).run))), name="RUN")


@question(6)
def objective(lab: Lab, text: Text) -> Answer:
    """Train the same network with no, with the usual and with ten times the regulariser."""
    sizes = lab.sizes
    found = {
        beta: lab.train(
            f"beta-{beta:g}",
            lab.vae_config(
                {
                    "data": {"train_images": sizes.grid_images},
                    "loop": {"epochs": sizes.beta_epochs},
                    "objective": {"beta": beta},
                }
            ),
        )
        for beta in BETAS
    }
    panels = {f"β = {beta:g}": _samples(lab, result) for beta, result in found.items()}
    return text.answer(
        numbers=[number for beta in BETAS for number in _terms(found[beta], beta)],
        figures=[
            text.figure(
                "samples",
                functools.partial(snapshots, panels=panels),
                is_picture=True,
                count=PICTURES,
                data=found[1.0].data,
                epochs=sizes.beta_epochs,
            )
        ],
        commands=[
            f"dl vae compare --data {lab.vae_config({}).data.name}{_limit(sizes.grid_images)} "
            f"--epochs {sizes.beta_epochs} --snapshots none{lab.and_seed} "
            "--set objective.beta=0.0,1.0,10.0",
            f"dl vae generate --run RUN --n {PICTURES}{lab.and_seed}",
        ],
    )


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


def _samples(lab: Lab, found: TrainResult) -> Array:
    trained = load_trained(RunFolder(Path(found.run)))
    return generate(trained, count=PICTURES, seed=lab.seed).images


def _limit(images: int) -> str:
    return f" --train-images {images}" if images else ""


@question(8)
def gradients(lab: Lab, text: Text) -> Answer:
    """Measure how much both estimators of the encoder's gradient scatter."""
    subject = _workshop_subject(lab)
    found, signature = compare_on_test_images(
        subject.trained,
        images=lab.sizes.gradient_images,
        samples=lab.sizes.gradient_samples,
        seed=lab.seed,
        offline=lab.offline,
        notice=lab.notice,
    )
    line, outputs = subject.signed(signature), found.outputs
    variances = {
        "score function": outputs.score.variance,
        "score function, best baseline": outputs.score_baseline.variance,
        "pathwise (reparametrised)": outputs.pathwise.variance,
    }
    return text.answer(
        numbers=[
            _ratio("score function", outputs.against_score, signature=line),
            _ratio("with its best baseline", outputs.against_baseline, signature=line),
        ],
        figures=[
            text.figure(
                "variances",
                functools.partial(_variance_figure, variances),
                images=found.images,
                samples=found.samples,
            )
        ],
        commands=[
            workshop_command(lab),
            f"dl vae gradients --run RUN --images {found.images} "
            f"--samples {found.samples}{lab.and_seed}",
        ],
        notes=[subject.note],
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


def _variance_figure(variances: Mapping[str, float], path: Path) -> None:
    """Draw positive amounts as bars on a logarithmic scale, the first on top."""
    with house_style():
        figure = new_figure(6.4, 2.0)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.barh(range(len(variances)), list(variances.values()), color=colour(0), height=0.6)
        axes.set_xlim(min(variances.values()) / 10, max(variances.values()) * 3)
        axes.set_yticks(range(len(variances)), [label(name) for name in variances])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("trace of the covariance of one draw's gradient")
        save_figure(figure, path)


@question(9, needs=("vae",))
def optimisers(lab: Lab, text: Text) -> Answer:
    """Train a grid of optimisers and learning rates."""
    sizes = lab.sizes
    cells = {
        (optimiser, rate): lab.train(
            f"grid-{optimiser}-{rate:g}",
            lab.vae_config(
                {
                    "data": {"train_images": sizes.grid_images},
                    "loop": {"epochs": sizes.grid_epochs},
                    "optim": {"optimizer": optimiser, "lr": rate},
                }
            ),
        )
        for optimiser in OPTIMISERS
        for rate in RATES
    }
    best, rate = max(cells, key=lambda cell: cells[cell].test.elbo)
    curves = {
        f"{optimiser} {rate:g}": curve_of(RunFolder(Path(found.run)))
        for (optimiser, rate), found in cells.items()
    }
    quick = text.note("quick", data=sizes.train_data, epochs=sizes.grid_epochs)
    return text.answer(
        numbers=[
            *(
                _test_loss(
                    found,
                    f"test −ELBO, {optimiser} at {rate:g} ({found.active_units} active units)",
                )
                for (optimiser, rate), found in cells.items()
            ),
            *(
                number
                for subject in _subjects(lab, "mlp")
                for number in stored_loss(
                    subject.trained.run,
                    name=f"−ELBO on {subject.own}, `{subject.name}`",
                    reference=text.published("loss"),
                )
            ),
        ],
        figures=[
            text.figure(
                "curves",
                functools.partial(compare_curves, curves=curves, title="training loss of the grid"),
                data=next(iter(cells.values())).data,
                epochs=sizes.grid_epochs,
            )
        ],
        commands=[
            f"dl vae compare --data {lab.vae_config({}).data.name}{_limit(sizes.grid_images)} "
            f"--epochs {sizes.grid_epochs} --snapshots none{lab.and_seed} --set "
            "optim.optimizer=adam,sgd optim.lr=1.0e-4,1.0e-3,1.0e-2"
        ],
        notes=[] if sizes.trained_here else [quick],
        best={"adam": "Adam", "sgd": "SGD"}[best],
        rate=rate,
    )


def _test_loss(found: TrainResult, name: str) -> Number:
    return Number(
        name=name,
        value=-found.test.elbo,
        error=found.test.std_error,
        spread=OVER_TEST_IMAGES,
        unit="nats",
        signature=found.signature,
    )


def stored_loss(run: RunFolder, *, name: str, reference: str = "") -> list[Number]:
    """Return a VAE's stored test loss as a number, in a list that is empty where there is none."""
    test = stored_test(run)
    if test is None:
        return []
    return [
        Number(
            name=name,
            value=-test["elbo"],
            error=test.get("std_error"),
            spread=OVER_TEST_IMAGES,
            unit="nats",
            reference=reference,
            signature=stored_signature(run),
        )
    ]


def _subjects(lab: Lab, arch: str) -> Sequence[Subject]:
    return [subject for subject in lab.subjects if subject.trained.config.model.arch == arch]


@question(10, needs=("vae",))
def pictures(lab: Lab, text: Text) -> Answer:
    """Decode the same latents after several epochs, and with the packaged models."""
    trained = workshop_run(lab)
    kept = snapshots_of(RunFolder(Path(trained.run)))
    panels = {f"epoch {snapshot.epoch}": snapshot.gallery.images for snapshot in kept}
    own = text.figure(
        "own",
        functools.partial(snapshots, panels=panels),
        is_picture=True,
        epochs=", ".join(str(snapshot.epoch) for snapshot in kept),
        data=trained.data,
    )
    return text.answer(
        numbers=[
            *(
                number
                for subject in lab.subjects
                for number in stored_loss(
                    subject.trained.run, name=f"−ELBO on {subject.own}, `{subject.name}`"
                )
            ),
            *(number for subject in lab.subjects for number in _judged(lab, subject)),
        ],
        figures=[own, *(_before_and_after(subject, text) for subject in lab.subjects)],
        commands=[
            workshop_command(lab),
            *(f"dl vae generate --run {subject.name} --n 64" for subject in lab.subjects),
        ],
    )


def _before_and_after(subject: Subject, text: Text) -> Figure:
    """Draw a packaged model beside the same network with random weights."""
    trained = subject.trained
    seed, likelihood = trained.config.compute.seed, trained.likelihood
    epochs = trained.config.loop.epochs
    fresh = untrained_model(trained.config.model, seed=seed)
    panels = {
        name: take_snapshot(model, seed=seed, epoch=epoch, likelihood=likelihood).gallery.images
        for name, model, epoch in (
            ("untrained", fresh, 0),
            (f"epoch {epochs}", trained.model, epochs),
        )
    }
    return text.figure(
        "before_and_after",
        functools.partial(snapshots, panels=panels),
        is_picture=True,
        name=subject.name,
        arch=trained.config.model.arch,
        data=subject.own,
        learnt=subject.learnt,
    )


def _judged(lab: Lab, subject: Subject) -> list[Number]:
    """Let a classifier say how many pictures are ambiguous; only in a full report."""
    judge = lab.sizes.judge_images
    if not judge:
        return []
    found = evaluate(lab, subject, images=JUDGE_TEST_IMAGES, k=JUDGE_K, judge=judge)
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


@question(11, needs=("vae",))
def convolutions(lab: Lab, text: Text) -> Answer:
    """Train three convolutional networks that differ in one setting each."""
    sizes = lab.sizes
    found = {
        name: lab.train(
            f"conv-{place}",
            lab.vae_config(
                {
                    "data": {"train_images": sizes.conv_images},
                    "loop": {"epochs": sizes.conv_epochs},
                    "model": {"arch": "conv", **settings},
                }
            ),
        )
        for place, (name, (settings, _)) in enumerate(NETWORKS.items())
    }
    panels = {name: _samples(lab, one) for name, one in found.items()}
    base = f"dl vae train --arch conv --data {lab.vae_config({}).data.name}"
    quick = text.note("quick", images=sizes.conv_images, epochs=sizes.conv_epochs)
    return text.answer(
        numbers=[
            *(
                number
                for subject in _subjects(lab, "conv")
                for number in _stored_conv_loss(subject, text)
            ),
            *(number for name, result in found.items() for number in _loss_and_kl(result, name)),
        ],
        figures=[
            text.figure(
                "networks",
                functools.partial(snapshots, panels=panels),
                is_picture=True,
                count=PICTURES,
                data=next(iter(found.values())).data,
                images=sizes.conv_images or "all",
                epochs=sizes.conv_epochs,
            )
        ],
        commands=[
            f"{base}{_limit(sizes.conv_images)} --epochs {sizes.conv_epochs} "
            f"--snapshots none{flags}{lab.and_seed}"
            for _, flags in NETWORKS.values()
        ],
        notes=[] if sizes.trained_here else [quick],
    )


def _stored_conv_loss(subject: Subject, text: Text) -> list[Number]:
    grey = subject.trained.config.data.binarize == "none"
    return stored_loss(
        subject.trained.run,
        name=f"−ELBO on {subject.own}, {subject.learnt}, `{subject.name}`",
        reference=text.published("prototype") if grey else "",
    )


def _loss_and_kl(found: TrainResult, name: str) -> tuple[Number, Number]:
    kl = Number(
        name=f"of this KL, {name} ({found.active_units} active units)",
        value=found.test.kl,
        unit="nats",
        signature=found.signature,
    )
    return _test_loss(found, f"test −ELBO, {name}"), kl
