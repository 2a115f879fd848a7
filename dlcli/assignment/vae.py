"""Question 6: what each of the two terms of the loss is for, by weighing one differently."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from dlcli.assignment.lab import Lab, Subject, stored_loss
from dlcli.assignment.page import bounds_figure, variance_figure
from dlcli.assignment.question import Answer, Figure, Number, Question, figure
from dlcli.display.images import snapshots
from dlcli.display.runs import compare_curves
from dlcli.engine.runs import RunFolder, curve_of
from dlcli.vae.config import VaeEvalConfig, VaeTrainConfig
from dlcli.vae.display import snapshots_figure
from dlcli.vae.generation import Array, generate, snapshots_of, take_snapshot
from dlcli.vae.gradients import Contrast, compare_on_test_images
from dlcli.vae.nll import Nll, SnapshotBounds, VaeEvaluation
from dlcli.vae.nll import evaluate_run as evaluations
from dlcli.vae.sampling import untrained_model
from dlcli.vae.trained import TrainResult, load_trained

BETAS = (0.0, 1.0, 10.0)
PICTURES = 36


def answer_objective(lab: Lab) -> Answer:
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
    return generate(trained, count=PICTURES, seed=lab.seed).images


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


OBJECTIVE = Question(
    number=6,
    chapter="Variational auto-encoders",
    title="Reconstruct, and stay near the prior",
    asks="What does each of the two terms of the loss make the model do?",
    answer=answer_objective,
)


# -- Question 11: a convolutional VAE, with batch normalisation, and without skip connections

NETWORKS: dict[str, tuple[dict[str, object], str]] = {
    "with batch norm": ({}, ""),
    "no batch norm": ({"norm": "none"}, " --norm none"),
    "with skips (cheating)": ({"skip": True}, " --skip"),
}
"""Name → what differs from `--arch conv`, as settings and as flags."""
NETWORK_PICTURES = 36
PROTOTYPE = "99.5 after 10, 97.4 after 20 epochs: a plain prototype of 0.45 M parameters"


def answer_networks(lab: Lab) -> Answer:
    """Train three convolutional networks that differ in one setting each."""
    found = {name: lab.train(f"conv-{place}", lab.vae_config(_network_changes(lab, settings)))
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
                    snapshots,
                    panels={name: _network_samples(lab, one) for name, one in found.items()},
                ),
                alt="Three panels of generated pictures, one a network: with batch normalisation, "
                "without it, and with skip connections.",
                caption=f"Means of p(x|z) for the same {NETWORK_PICTURES} draws from the prior "
                f"({data}, {sizes.conv_images or 'all'} images, {sizes.conv_epochs} epochs).",
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


def _network_changes(lab: Lab, settings: dict[str, object]) -> dict[str, object]:
    return {
        "data": {"train_images": lab.sizes.conv_images},
        "loop": {"epochs": lab.sizes.conv_epochs},
        "model": {"arch": "conv", **settings},
    }


def _network_samples(lab: Lab, found: TrainResult) -> Array:
    trained = load_trained(RunFolder(Path(found.run)))
    return generate(trained, count=NETWORK_PICTURES, seed=lab.seed).images


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


NETWORKS_QUESTION = Question(
    number=11,
    chapter="Variational auto-encoders",
    title="Convolutions, and a network that cheats",
    asks="Which convolutional network makes a better VAE, and why not simply a U-Net?",
    answer=answer_networks,
    needs=("vae",),
)


# -- Question 9: a small fully connected network, and which optimiser and rate train it

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


def answer_training(lab: Lab) -> Answer:
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
        notes=_training_note(lab),
    )


def _training_note(lab: Lab) -> tuple[str, ...]:
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


TRAINING = Question(
    number=9,
    chapter="Variational auto-encoders",
    title="A small network and how to train it",
    asks="Which architecture, optimiser, learning rate and batch size train a first VAE?",
    answer=answer_training,
    needs=("vae",),
)


# -- Questions 4 and 5: the ELBO is a bound, and what becomes of the bound during training

PUBLISHED_NLL = (
    "86.76 (VAE) and 84.78 (IWAE, k = 50), one stochastic layer, trained on binarised pixels: "
    "Burda et al. 2016"
)


BEST = "82.90 (IWAE, k = 50), two stochastic layers: Burda et al. 2016"


def answer_bounds(lab: Lab) -> Answer:
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
            reference=PUBLISHED_NLL if place == last else "",
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


BOUNDS = Question(
    number=4,
    chapter="Variational auto-encoders",
    title="A bound that can be trained on",
    asks="Why is the ELBO a lower bound of log p(x), and why optimise it rather than log p(x)?",
    answer=answer_bounds,
    needs=("vae", "images"),
)
BOUNDS_TRAINING = Question(
    number=5,
    chapter="Variational auto-encoders",
    title="Two ways for the bound to rise",
    asks="When the bound goes up in training, what may have happened?",
    answer=through_training,
)


# -- Question 10: what a VAE draws, before training, early, and late

JUDGE_K = 50
JUDGE_TEST_IMAGES = 20


def answer_pictures(lab: Lab) -> Answer:
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


PICTURES_QUESTION = Question(
    number=10,
    chapter="Variational auto-encoders",
    title="Pictures from noise",
    asks="What do generated digits look like before training, after a few epochs, and at the end?",
    answer=answer_pictures,
    needs=("vae",),
)


# -- Question 8: a gradient through a random draw, in two ways


def answer_gradients(lab: Lab) -> Answer:
    """Measure how much both estimators of the encoder's gradient scatter."""
    sizes = lab.sizes
    run = RunFolder(Path(workshop_run(lab).run))
    subject = lab.subject(load_trained(run), name="RUN")
    found, signature = compare_on_test_images(
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


GRADIENTS = Question(
    number=8,
    chapter="Variational auto-encoders",
    title="A gradient through a draw",
    asks="z is drawn at random. How does a gradient get from the decoder back to the encoder?",
    answer=answer_gradients,
)
