"""Questions 1, 4 to 6 and 8 to 11: variational auto-encoders."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dlcli.assignment.lab import Lab, Subject, stored_signature, stored_test
from dlcli.assignment.question import Command, Note, Number, Part, Text, question
from dlcli.display.images import image_grid, snapshots
from dlcli.display.plots import Line, colour, house_style, label, lines, new_figure, save_figure
from dlcli.display.runs import compare_curves
from dlcli.engine.runs import RunFolder, curve_of
from dlcli.vae.config import VaeEvalConfig
from dlcli.vae.display import snapshots_figure
from dlcli.vae.evaluation import Nll, VaeEvaluation
from dlcli.vae.evaluation import evaluate_run as evaluations
from dlcli.vae.generation import Array, generate, snapshots_of, take_snapshot
from dlcli.vae.gradients import compare_on_test_images
from dlcli.vae.sampling import ancestral_sample, draw_latents, of_run, untrained_model
from dlcli.vae.trained import TrainResult, load_trained

COUNT, DRAWS, SHOWN = 200, 4, 10
"""Question 1: latents, draws of each, and how many of them are shown."""
BETAS = (0.0, 1.0, 10.0)
OPTIMISERS = {"adam": "Adam", "sgd": "SGD"}
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


@question(1)
def sampling(lab: Lab, text: Text) -> Iterator[Part]:
    """Draw latents, decode them, and draw pixels from what they decode to."""
    subject = lab.subjects[0]
    source = of_run(subject.trained)
    latents = draw_latents(source.model, count=COUNT, seed=lab.seed)
    made = ancestral_sample(source.model, latents, draws=DRAWS, seed=lab.seed)
    signature = source.signature(count=COUNT, draws=DRAWS, seed=lab.seed, file=None)
    rows = np.concatenate([made.means[:, None], made.draws], axis=1)[:SHOWN].swapaxes(0, 1)
    names = ("mean", *(f"draw {number + 1}" for number in range(DRAWS)))
    yield text.figure(
        "draws",
        functools.partial(image_grid, images=rows, row_labels=names),
        is_picture=True,
        shown=SHOWN,
        draws=DRAWS,
    )
    D = made.z.shape[1]
    yield Number(
        f"log N(z; 0, I), mean of {COUNT} draws",
        float(np.mean(made.log_prior)),
        "nats",
        signature,
        error=math.sqrt(D / 2 / COUNT),
        reference=f"exactly −(D/2) log 2πe = {-D / 2 * math.log(2 * math.pi * math.e):.2f}",
    )
    means = made.means.astype(np.float64)
    error = math.sqrt(float((means * (1 - means)).sum()) / DRAWS) / means.size
    yield Number(
        "share of white pixels among the draws",
        100 * float(made.draws.mean()),
        "%",
        signature,
        error=100 * error,
        reference=f"{100 * means.mean():.3f} % by the decoder's means of the same z",
    )
    yield Command(
        f"dl sample --run {subject.name} --n {COUNT} --draws {DRAWS} --json{lab.and_seed}"
    )


@question(4)
def bounds(lab: Lab, text: Text) -> Iterator[Part]:
    """Bound log p(x) from below with more and more samples."""
    first, sizes = lab.subjects[0], lab.sizes
    binary = [each for each in lab.subjects[1:] if each.trained.config.data.binarize != "none"]
    for subject in (first, *binary):
        found = evaluate(lab, subject, images=sizes.eval_images, k=sizes.eval_k)
        nll = found.nll or found.nll_binarized
        assert nll is not None, "an evaluation has bounds"
        line = subject.signed(found.signature)
        if subject is first:
            yield from _bounds(found, nll, text, name=subject.name, signature=line)
        else:
            prior = subject.trained.config.model.prior
            yield Number(
                f"−IWAE-{nll.k} of `{subject.name}`, trained on binarised pixels"
                + (", with a learned prior" if prior == "flow" else ""),
                nll.value,
                "nats",
                line,
                error=nll.std_error,
                spread=OVER_IMAGES,
                reference=text.published("best"),
            )
        yield Command(
            f"dl vae eval --run {subject.name} --k {sizes.eval_k} "
            f"--images {sizes.eval_images}{lab.and_seed}"
        )
        yield Note(subject.note)


def _bounds(
    found: VaeEvaluation, nll: Nll, text: Text, *, name: str, signature: str
) -> Iterator[Part]:
    last = nll.bounds[-1]
    for bound in (nll.bounds[0], last):
        yield Number(
            f"−{bound.name}" + (", which is NLL at most" if bound is last else ""),
            -bound.value,
            "nats",
            signature,
            error=bound.std_error,
            spread=OVER_IMAGES,
            reference=text.published("nll") if bound is last else "",
        )
    yield Number(
        f"gap between ELBO and IWAE-{nll.k:,}, the same images",
        found.gap,
        "nats",
        signature,
        error=found.gap_std_error,
        spread=OVER_IMAGES,
        reference="≥ 0",
    )
    yield text.figure(
        "bounds",
        functools.partial(_bounds_figure, nll),
        name=name,
        images=found.images,
        data=found.data,
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
def bounds_in_training(lab: Lab, text: Text) -> Iterator[Part]:
    """Follow the bound and its gap through the snapshots of one training."""
    sizes, subject = lab.sizes, _workshop_subject(lab)
    found = evaluate(lab, subject, images=sizes.snapshot_images, k=sizes.snapshot_k, snapshots=True)
    line = subject.signed(found.signature)
    for row in found.checkpoints:
        for name, value, error, reference in (
            ("NLL at most", -row.iwae.value, row.iwae.std_error, ""),
            ("gap", row.gap.value, row.gap.std_error, "≥ 0"),
        ):
            yield Number(
                f"{name}, after {row.epoch} epochs",
                value,
                "nats",
                line,
                error=error,
                spread=OVER_IMAGES,
                reference=reference,
            )
    first, last = found.checkpoints[0], found.checkpoints[-1]
    rise = last.elbo.value - first.elbo.value
    gain = last.iwae.value - first.iwae.value
    yield from text.words(
        first=first.epoch, last=last.epoch, k=last.k, rise=rise, gain=gain, closed=gain - rise
    )
    yield text.figure(
        "snapshots",
        functools.partial(snapshots_figure, dataclasses.replace(found, signature="")),
        images=found.images,
        data=found.data,
        epochs=", ".join(str(row.epoch) for row in found.checkpoints),
    )
    yield workshop_command(lab)
    yield Command(
        f"dl vae eval --run RUN --checkpoints all --checkpoints-k {sizes.snapshot_k} "
        f"--k {sizes.snapshot_k} --images {sizes.snapshot_images}{lab.and_seed}"
    )
    yield Note(subject.note)


def workshop_command(lab: Lab) -> Command:
    """Return the command of the report's own fully connected network, with its snapshots."""
    kept = " ".join(map(str, lab.sizes.snapshots))
    return Command(
        f"dl vae train --data {lab.train_images} --epochs {lab.sizes.epochs} "
        f"--snapshots {kept}{lab.and_seed}"
    )


def _workshop_subject(lab: Lab) -> Subject:
    return lab.subject(load_trained(RunFolder(Path(lab.published("mlp").run))), name="RUN")


@question(6)
def objective(lab: Lab, text: Text) -> Iterator[Part]:
    """Train the same network with no, with the usual and with ten times the regulariser."""
    sizes = lab.sizes
    panels = {}
    for beta in BETAS:
        found = lab.train(
            f"beta-{beta:g}",
            {
                "data": {"train_images": sizes.grid_images},
                "loop": {"epochs": sizes.beta_epochs},
                "objective": {"beta": beta},
            },
        )
        panels[f"β = {beta:g}"] = _samples(lab, found)
        test, name = found.test, f"β = {beta:g}"
        yield Number(
            f"reconstruction, {name}", test.reconstruction, "nats", found.signature, digits=5
        )
        name += f" ({found.active_units} active units)"
        yield Number(f"KL, {name}", test.kl, "nats", found.signature, digits=5)
    yield text.figure(
        "samples",
        functools.partial(snapshots, panels=panels),
        is_picture=True,
        count=PICTURES,
        data=lab.train_images,
        epochs=sizes.beta_epochs,
    )
    yield Command(
        f"dl vae compare --data {lab.train_images}{_limit(sizes.grid_images)} "
        f"--epochs {sizes.beta_epochs} --snapshots none{lab.and_seed} "
        "--set objective.beta=0.0,1.0,10.0"
    )
    yield Command(f"dl vae generate --run RUN --n {PICTURES}{lab.and_seed}")


def _samples(lab: Lab, found: TrainResult) -> Array:
    trained = load_trained(RunFolder(Path(found.run)))
    return generate(trained, count=PICTURES, seed=lab.seed).images


def _limit(images: int) -> str:
    return f" --train-images {images}" if images else ""


@question(8)
def gradients(lab: Lab, text: Text) -> Iterator[Part]:
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
    outputs = found.outputs
    for name, contrast in (
        ("score function", outputs.against_score),
        ("with its best baseline", outputs.against_baseline),
    ):
        agrees = "means agree" if contrast.agrees else "means DISAGREE"
        yield Number(
            f"variance, {name}, over the pathwise one ({agrees})",
            contrast.ratio,
            "times",
            subject.signed(signature),
            ci95=contrast.ratio_ci95,
            spread="95% interval by bootstrap",
            digits=3,
        )
    variances = {
        "score function": outputs.score.variance,
        "score function, best baseline": outputs.score_baseline.variance,
        "pathwise (reparametrised)": outputs.pathwise.variance,
    }
    yield text.figure(
        "variances",
        functools.partial(_variance_figure, variances),
        images=found.images,
        samples=found.samples,
    )
    yield workshop_command(lab)
    yield Command(
        f"dl vae gradients --run RUN --images {found.images} "
        f"--samples {found.samples}{lab.and_seed}"
    )
    yield Note(subject.note)


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


@question(9)
def optimisers(lab: Lab, text: Text) -> Iterator[Part]:
    """Train a grid of optimisers and learning rates."""
    sizes = lab.sizes
    losses, curves = {}, {}
    for optimiser, its_name in OPTIMISERS.items():
        for rate in RATES:
            found = lab.train(
                f"grid-{optimiser}-{rate:g}",
                {
                    "data": {"train_images": sizes.grid_images},
                    "loop": {"epochs": sizes.grid_epochs},
                    "optim": {"optimizer": optimiser, "lr": rate},
                },
            )
            losses[its_name, rate] = -found.test.elbo
            curves[f"{optimiser} {rate:g}"] = curve_of(RunFolder(Path(found.run)))
            units = f"{found.active_units} active units"
            yield _test_loss(found, f"test −ELBO, {optimiser} at {rate:g} ({units})")
    best, rate = min(losses, key=lambda cell: losses[cell])
    yield from text.words(best=best, rate=rate)
    for subject in _subjects(lab, "mlp"):
        name, reference = f"−ELBO on {subject.own}, `{subject.name}`", text.published("loss")
        yield from stored_loss(subject.trained.run, name=name, reference=reference)
    yield text.figure(
        "curves",
        functools.partial(compare_curves, curves=curves, title="the grid"),
        data=lab.train_images,
        epochs=sizes.grid_epochs,
    )
    yield Command(
        f"dl vae compare --data {lab.train_images}{_limit(sizes.grid_images)} "
        f"--epochs {sizes.grid_epochs} --snapshots none{lab.and_seed} --set "
        "optim.optimizer=adam,sgd optim.lr=1.0e-4,1.0e-3,1.0e-2"
    )
    if not sizes.trained_here:
        yield text.note("quick", data=sizes.train_data, epochs=sizes.grid_epochs)


def _test_loss(found: TrainResult, name: str) -> Number:
    test = found.test
    return Number(
        name, -test.elbo, "nats", found.signature, error=test.std_error, spread=OVER_TEST_IMAGES
    )


def stored_loss(run: RunFolder, *, name: str, reference: str = "") -> Iterator[Number]:
    """Give a VAE's stored test loss as a number, where there is one."""
    test = stored_test(run)
    if test is not None:
        yield Number(
            name,
            -test["elbo"],
            "nats",
            stored_signature(run),
            error=test.get("std_error"),
            spread=OVER_TEST_IMAGES,
            reference=reference,
        )


def _subjects(lab: Lab, arch: str) -> Iterator[Subject]:
    return (subject for subject in lab.subjects if subject.trained.config.model.arch == arch)


@question(10)
def pictures(lab: Lab, text: Text) -> Iterator[Part]:
    """Decode the same latents after several epochs, and with the packaged models."""
    kept = snapshots_of(RunFolder(Path(lab.published("mlp").run)))
    panels = {f"epoch {snapshot.epoch}": snapshot.gallery.images for snapshot in kept}
    yield text.figure(
        "own",
        functools.partial(snapshots, panels=panels),
        is_picture=True,
        epochs=", ".join(str(snapshot.epoch) for snapshot in kept),
        data=lab.train_images,
    )
    yield workshop_command(lab)
    for subject in lab.subjects:
        name = f"−ELBO on {subject.own}, `{subject.name}`"
        yield from stored_loss(subject.trained.run, name=name)
        yield _before_and_after(subject, text)
        yield Command(f"dl vae generate --run {subject.name} --n 64")
    if lab.sizes.judge_images:
        for subject in lab.subjects:
            yield _judged(lab, subject)


def _before_and_after(subject: Subject, text: Text) -> Part:
    """Draw a packaged model beside the same network with random weights."""
    trained = subject.trained
    seed, epochs = trained.config.compute.seed, trained.config.loop.epochs
    fresh = untrained_model(trained.config.model, seed=seed)
    panels = {
        name: take_snapshot(model, seed=seed, epoch=epoch).gallery.images
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


def _judged(lab: Lab, subject: Subject) -> Number:
    """Let a classifier say how many pictures are ambiguous."""
    judge = lab.sizes.judge_images
    found = evaluate(lab, subject, images=JUDGE_TEST_IMAGES, k=JUDGE_K, judge=judge)
    assert found.ambiguity is not None, "the judge was on"
    generated, real = found.ambiguity.generated, found.ambiguity.real
    return Number(
        f"ambiguous to a classifier, `{subject.name}`",
        100 * generated.ambiguous,
        "%",
        subject.signed(found.signature),
        error=100 * generated.ambiguous_std_error,
        spread="standard error over pictures",
        reference=f"{100 * real.ambiguous:.1f} % of the real test digits",
    )


@question(11)
def convolutions(lab: Lab, text: Text) -> Iterator[Part]:
    """Train three convolutional networks that differ in one setting each."""
    sizes = lab.sizes
    for subject in _subjects(lab, "conv"):
        grey = subject.trained.config.data.binarize == "none"
        yield from stored_loss(
            subject.trained.run,
            name=f"−ELBO on {subject.own}, {subject.learnt}, `{subject.name}`",
            reference=text.published("prototype") if grey else "",
        )
    panels = {}
    for place, (name, (settings, flags)) in enumerate(NETWORKS.items()):
        found = lab.train(
            f"conv-{place}",
            {
                "data": {"train_images": sizes.conv_images},
                "loop": {"epochs": sizes.conv_epochs},
                "model": {"arch": "conv", **settings},
            },
        )
        panels[name] = _samples(lab, found)
        yield _test_loss(found, f"test −ELBO, {name}")
        units = f"{found.active_units} active units"
        yield Number(f"of this KL, {name} ({units})", found.test.kl, "nats", found.signature)
        yield Command(
            f"dl vae train --arch conv --data {lab.train_images}{_limit(sizes.conv_images)} "
            f"--epochs {sizes.conv_epochs} --snapshots none{flags}{lab.and_seed}"
        )
    yield text.figure(
        "networks",
        functools.partial(snapshots, panels=panels),
        is_picture=True,
        count=PICTURES,
        data=lab.train_images,
        images=sizes.conv_images or "all",
        epochs=sizes.conv_epochs,
    )
    if not sizes.trained_here:
        yield text.note("quick", images=sizes.conv_images, epochs=sizes.conv_epochs)
