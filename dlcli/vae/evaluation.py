"""What `dl vae eval` measures on test images: bounds of log p(x), AIS, snapshots, ambiguity.

Questions 4 to 6, 10 and 11. `evaluate_run` yields ever more complete results, so that one who stops
it keeps what there was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from dlcli.engine.checkpoint import snapshot_epochs, snapshot_name
from dlcli.engine.device import Compute, prepare
from dlcli.engine.events import NoticeCallback, ProgressCallback, no_progress
from dlcli.engine.seed import generator
from dlcli.engine.settings import compute_config
from dlcli.evidence.progress import part_of
from dlcli.vae.bounds import (
    AIS_STAGE,
    AnnealedNll,
    Average,
    Bounds,
    average,
    decoder_of,
    stream_annealed,
    stream_bounds,
)
from dlcli.vae.config import VaeEvalConfig
from dlcli.vae.images import DESCRIPTIONS, flat, images_of
from dlcli.vae.judge import Ambiguity, find_judge, require_labels, stream_ambiguity
from dlcli.vae.trained import (
    TestImages,
    Trained,
    choose_images,
    describe,
    load_trained,
    with_true_data,
)

GREY_SAMPLES = 16
"""Noise samples for the ELBO of grey pixels, as at the end of training."""


def evaluate_run(
    trained: Trained,
    config: VaeEvalConfig,
    *,
    notice: NoticeCallback,
    progress: ProgressCallback = no_progress,
) -> Iterator[VaeEvaluation]:
    """Evaluate a trained VAE on test images of its own data set.

    Args:
        trained: from `find_trained`; its model is moved to the device.
        config: what to measure.
        notice: called with a sentence where the user should know something.
        progress: called with how far all of it is, where a result is long in coming.

    Yields:
        Results that are ever more complete; the last has `done` 1.

    Raises:
        UsageFault: more images than there are, or a model without p(x|z).
        DataError: the run's data set cannot be had.
        RunFailed: the encoder or the decoder returned NaN.
    """
    compute = prepare(compute_config(config))
    trained = with_true_data(trained, notice=notice)
    decoder_of(trained, compute=compute)  # a model that has none is refused at once
    if config.judge:
        require_labels(images_of(trained.config.data, notice=notice))
    images = choose_images(trained, count=config.images, seed=config.seed, notice=notice)
    trained.model.to(compute.device)
    subject = _Subject(trained, config, compute, images.to(compute.device), notice=notice)
    stages: list[_Stage] = []
    if config.ais:
        stages.append(_ais_stage)
    if config.checkpoints == "all":
        stages.append(_snapshots_stage)
    if config.judge:
        stages.append(_judge_stage)
    total = 1 + len(stages)
    for latest in _bounds_stage(subject):
        yield dataclasses.replace(latest, done=latest.done / total)
    for finished, stage in enumerate(stages, start=1):
        subject.progress = part_of(progress, start=finished / total, share=1 / total)
        for latest in stage(subject, latest):  # noqa: B020  (each stage adds to the last)
            yield dataclasses.replace(latest, done=(finished + latest.done) / total)
    yield dataclasses.replace(latest, done=1.0, stage="done")


@dataclass(frozen=True, kw_only=True)
class VaeEvaluation:
    """What is known of a run, at some point of its evaluation."""

    run: str
    checkpoint: str
    data: str
    arch: str
    epochs: int
    images: int
    pixels: str
    """What the model was trained on and `elbo` is of, such as "grey"."""
    likelihood: str
    elbo: float
    """−(reconstruction + kl)."""
    elbo_std_error: float | None
    reconstruction: float
    kl: float
    nll: Nll | None
    """None for grey pixels under a Bernoulli likelihood: they have no density."""
    nll_binarized: Nll | None
    """The same model on dynamically binarised pixels, where `nll` is None."""
    gap: float | None
    """−ELBO − NLL = KL(q(z|x) ‖ p(z|x)) as far as the bound shows: of `nll` or `nll_binarized`."""
    gap_std_error: float | None
    active_units: int
    latent_dim: int
    """D, of which the active units are some."""
    kl_per_dim: tuple[float, ...]
    """Nats; empty with a learned prior, to which the KL is no sum over dimensions."""
    collapse: str
    ais: AnnealedNll | None
    checkpoints: tuple[SnapshotBounds, ...]
    ambiguity: Ambiguity | None
    evaluations: int
    """Decoder evaluations for the bounds."""
    evaluations_per_s: float
    elapsed_s: float
    precision: str
    device: str
    seed: int
    signature: str
    done: float
    """0 to 1."""
    stage: str

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        return self.done >= 1


@dataclass(frozen=True, kw_only=True)
class Nll:
    """−log p(x) in nats an image, from above: the bound is low on average."""

    value: float
    std_error: float | None
    """Over images."""
    estimator: str
    k: int
    elbo: float
    """Of the same images and pixels."""
    bounds: tuple[Bound, ...]
    """From the ELBO up."""
    rises: bool
    """ELBO ≤ IWAE-5 ≤ … ≤ IWAE-k, each within 3 standard errors of the paired difference."""
    ess: float
    """Median over images of the effective samples among the k."""
    dominated: float
    """Share of images where one sample carries more than half of the weight."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A lower bound of log p(x), nats an image; `samples` 1 is the ELBO."""

    name: str
    samples: int
    value: float
    std_error: float | None


@dataclass(frozen=True, kw_only=True)
class SnapshotBounds:
    """ELBO, IWAE bound and gap of a run after some epochs: Question 5."""

    epoch: int
    checkpoint: str
    elbo: Average
    iwae: Average
    gap: Average
    """IWAE − ELBO: what is left of KL(q(z|x) ‖ p(z|x))."""
    k: int


@dataclass(eq=False)
class _Subject:
    """A run on its device, with the images to evaluate it on."""

    trained: Trained
    config: VaeEvalConfig
    compute: Compute
    images: TestImages
    notice: NoticeCallback
    progress: ProgressCallback = no_progress
    """Called with how far the stage at work is."""
    iwae: Tensor | None = None
    """The IWAE bound of the images that are measured so far."""


_Stage = Callable[[_Subject, "VaeEvaluation"], Iterator["VaeEvaluation"]]
"""Adds to a result; `done` counts from 0 to 1 within the stage."""


def _measure(subject: _Subject, pixels: Tensor, *, k: int, name: str) -> Iterator[Bounds]:
    return stream_bounds(
        subject.trained.model,
        decoder_of(subject.trained, compute=subject.compute, of_encoded=True),
        pixels,
        k=k,
        generator=generator(subject.config.seed, "evaluation noise", name),
    )


def _bounds_stage(subject: _Subject) -> Iterator[VaeEvaluation]:
    grey: Bounds | None = None
    images = subject.images
    if subject.trained.is_grey:
        *_, grey = _measure(subject, images.seen, k=GREY_SAMPLES, name="grey")
    for bounds in _measure(subject, images.dense, k=subject.config.k, name="nll"):
        subject.iwae = bounds.best
        yield _result(subject, bounds, grey=grey)


def _result(subject: _Subject, bounds: Bounds, *, grey: Bounds | None) -> VaeEvaluation:
    trained, config = subject.trained, subject.config
    shown = bounds if grey is None else grey
    elbo, gap, nll = average(shown.elbo), average(bounds.best - bounds.elbo), _nll(bounds)
    use = shown.latents
    return VaeEvaluation(
        run=str(trained.run.path),
        checkpoint=trained.checkpoint,
        data=trained.config.data.name,
        arch=trained.config.model.arch,
        epochs=trained.epochs,
        images=bounds.images,
        pixels=trained.pixels,
        likelihood=trained.likelihood,
        elbo=elbo.value,
        elbo_std_error=elbo.std_error,
        reconstruction=-float(shown.log_lik.mean()),
        kl=float(shown.kl.mean()),
        nll=nll if grey is None else None,
        nll_binarized=None if grey is None else nll,
        gap=gap.value,
        gap_std_error=gap.std_error,
        active_units=use.active_units,
        latent_dim=len(use.mean_variance),
        kl_per_dim=use.kl_per_dim,
        collapse=use.collapse(objective=trained.config.objective.objective),
        ais=None,
        checkpoints=(),
        ambiguity=None,
        evaluations=bounds.evaluations,
        evaluations_per_s=bounds.evaluations_per_s,
        elapsed_s=bounds.elapsed_s,
        precision=subject.compute.precision,
        device=str(subject.compute.device),
        seed=config.seed,
        signature=_signature(subject, images=bounds.images),
        done=bounds.images / bounds.total,
        stage=f"IWAE-{config.k}",
    )


def _nll(bounds: Bounds) -> Nll:
    best, elbo = average(bounds.best), average(bounds.elbo)
    named = [("ELBO", 1, elbo)]
    named += [(f"IWAE-{k}", k, average(values)) for k, values in bounds.iwae.items()]
    return Nll(
        value=-best.value,
        std_error=best.std_error,
        estimator="iwae",
        k=bounds.k,
        elbo=elbo.value,
        bounds=tuple(
            Bound(name=name, samples=k, value=found.value, std_error=found.std_error)
            for name, k, found in named
        ),
        rises=bounds.rises(),
        ess=float(bounds.ess.median()),
        dominated=float((bounds.max_weight > 0.5).double().mean()),
    )


def _signature(subject: _Subject, *, images: int) -> str:
    trained, config = subject.trained, subject.config
    return describe(
        trained.config,
        data=trained.config.data.name,
        split="test",
        images=images,
        checkpoint=trained.checkpoint,
        estimator="iwae",
        k=config.k,
        nll_pixels=DESCRIPTIONS["dynamic"] if trained.is_grey else None,
        ais_images=config.ais_images if config.ais else None,
        ais_chains=config.ais_chains if config.ais else None,
        ais_temperatures=(config.ais_temperatures or "auto") if config.ais else None,
        judge_images=config.judge_images if config.judge else None,
        epochs=trained.epochs,
        init=trained.run.origin,
        sampling_seed=config.seed,
        precision=subject.compute.precision,
    )


def _ais_stage(subject: _Subject, found: VaeEvaluation) -> Iterator[VaeEvaluation]:
    config = subject.config
    assert subject.iwae is not None
    pixels = subject.images.dense[: config.ais_images]
    yield dataclasses.replace(found, stage=AIS_STAGE, done=0.0)
    for ais in stream_annealed(
        decoder_of(subject.trained, compute=subject.compute),
        pixels,
        iwae=subject.iwae,
        chains=config.ais_chains,
        temperatures=config.ais_temperatures,
        generator=generator(config.seed, "evaluation ais"),
        progress=subject.progress,
    ):
        share = ais.images / len(pixels)
        yield dataclasses.replace(found, ais=ais, stage=AIS_STAGE, done=share)


def _snapshots_stage(subject: _Subject, found: VaeEvaluation) -> Iterator[VaeEvaluation]:
    epochs, k = snapshot_epochs(subject.trained.run), subject.config.checkpoints_k
    for index, epoch in enumerate(epochs):
        name = snapshot_name(epoch)
        trained = load_trained(subject.trained.run, checkpoint=name, device=subject.compute.device)
        at = dataclasses.replace(subject, trained=trained)
        # The same noise at every epoch: the curves differ by the weights alone.
        for latest in _measure(at, subject.images.dense, k=k, name="checkpoints"):
            share = (index + latest.images / latest.total) / len(epochs)
            yield dataclasses.replace(found, stage=name, done=share)
        row = SnapshotBounds(
            epoch=epoch,
            checkpoint=name,
            elbo=average(latest.elbo),
            iwae=average(latest.best),
            gap=average(latest.best - latest.elbo),
            k=latest.k,
        )
        found = dataclasses.replace(found, checkpoints=(*found.checkpoints, row), stage=name)
    yield dataclasses.replace(found, done=1.0)


def _judge_stage(subject: _Subject, found: VaeEvaluation) -> Iterator[VaeEvaluation]:
    config, data, notice = subject.config, subject.trained.config.data, subject.notice
    images = images_of(data, notice=notice)
    judge = find_judge(images, notice=notice)
    for ambiguity in stream_ambiguity(
        subject.trained.model,
        judge,
        real=flat(images.test),
        count=config.judge_images,
        seed=config.seed,
    ):
        share = ambiguity.generated.images / config.judge_images
        yield dataclasses.replace(found, ambiguity=ambiguity, stage="judge", done=share)
