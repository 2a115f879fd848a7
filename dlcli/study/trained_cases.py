"""Test images under a trained VAE, as the evidence estimators want them (`mc-estimate --run`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from dlcli.engine.device import prepare
from dlcli.errors import UsageFault
from dlcli.evidence.cases import Case
from dlcli.evidence.config import EvidenceConfig
from dlcli.evidence.estimate import estimator_parts
from dlcli.study.decoders import decoder_of, encoded, posterior_of
from dlcli.study.eval_images import binarized, chosen_images, seen_pixels
from dlcli.study.vae_evaluation import epochs_of, grey_run
from dlcli.vae.pixels import DESCRIPTIONS
from dlcli.vae.result import describe
from dlcli.vae.trained import Trained


def trained_cases(
    trained: Trained, config: EvidenceConfig, *, images: int, notice: Callable[[str], object]
) -> Iterator[Case]:
    """Offer test images of the run's own data set, with the encoder's q(z|x) as the proposal.

    A run trained on grey pixels has no density of them: its images are binarised dynamically.

    Args:
        trained: the run, after `with_true_data`.
        config: device, threads and seed.
        images: how many, the first of the evaluation's fixed order.
        notice: called with sentences for the user.

    Raises:
        UsageFault: there are not so many images, or the run was trained with --skip.
        DataError: the run's data set cannot be had.
        RunFailed: the encoder returned NaN.
    """
    compute = prepare(config.compute.resolved())
    rows, numbers = chosen_images(trained, count=images, notice=notice)
    model = trained.model.to(compute.device).eval()
    seed = config.compute.seed
    seen = seen_pixels(rows, numbers, way=trained.config.data.binarize, seed=seed)
    dense = binarized(rows, numbers, seed=seed) if grey_run(trained) else seen
    decoder = decoder_of(trained, compute=compute)
    for number, as_seen, pixels in zip(numbers.tolist(), seen, dense, strict=True):
        with torch.no_grad():
            mean, logvar = encoded(model, as_seen[None].to(compute.device))
        yield Case(
            model=decoder,
            precise=decoder,
            x=pixels[None].to(compute.device),
            proposal=posterior_of(model, mean, logvar=logvar),
            name=f"test-{number}",
        )


def check_real(config: EvidenceConfig) -> None:
    """Refuse what real images cannot be asked, before anything is measured.

    Raises:
        UsageFault: `bdmc` is among the estimators.
    """
    if "bdmc" in config.estimators:
        raise UsageFault(
            "`bdmc` needs an image drawn from the model, and those of a run are real ones.",
            hint="Leave bdmc out of --estimators, or leave --run out.",
        )


def sign_trained(trained: Trained, config: EvidenceConfig, *, images: int) -> str:
    """Say in one line what the numbers of a run's test images depend on."""
    return describe(
        trained.config,
        measure="log-evidence",
        unit="nats",
        data=trained.config.data.name,
        split="test",
        images=images,
        checkpoint=trained.checkpoint,
        nll_pixels=DESCRIPTIONS["dynamic"] if grey_run(trained) else None,
        **estimator_parts(config),
        epochs=epochs_of(trained),
        init=trained.run.origin,
        sampling_seed=config.compute.seed,
        precision="fp32",
    )
