"""log p(x) of a trained VAE by annealed importance sampling, beside the IWAE bound it must beat.

Both are low on average, so the higher of two trusted ones is the better. AIS knows nothing of the
encoder: where it is below the IWAE bound of the same images its chains have not found the mass
that the encoder points at, and it is doubtful.

Legend: N images, K chains an image.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.evidence.annealing import Annealed, anneal
from dlcli.evidence.diagnostics import Estimate, assess
from dlcli.evidence.model import LatentModel
from dlcli.evidence.schedule import Schedule, choose_schedule
from dlcli.evidence.stream import summarize
from dlcli.evidence.telling import Tell, fraction_of, part, unheard
from dlcli.study.bounds import Average, average

IMAGES_AT_ONCE = 16
"""They share a schedule."""
STAGE = "AIS"
"""What a line of progress calls it."""


@dataclass(frozen=True, kw_only=True)
class AnnealedNll:
    """Annealed importance sampling over some images; nats an image."""

    images: int
    chains: int
    temperatures: tuple[int, ...]
    """Of each batch of images."""
    value: float
    """−log p̂(x), averaged over images."""
    std_error: float | None
    """Over images."""
    monte_carlo_error: float
    """Of `value`, from the chains of each image."""
    iwae: float
    """The −IWAE bound of the same images."""
    above_iwae: Average
    """log p̂ of AIS − IWAE bound, paired by image."""
    doubtful: bool
    """AIS is below the IWAE bound."""
    images_below: int
    """Images where it is below, by however little."""
    verdicts: dict[str, int]
    """How many images' chains are to be trusted, doubted, rejected."""
    acceptance: float
    evaluations: int
    """Decoder evaluations (a gradient counts as one), pilots included."""
    elapsed_s: float

    @property
    def verdict(self) -> str:
        """The comparison in words."""
        if self.doubtful:
            return "doubtful: AIS is below the IWAE bound of the same images"
        return "above the IWAE bound of the same images, as it should be"


@dataclass(frozen=True, eq=False)
class _Batch:
    estimates: list[Estimate]
    schedule: Schedule
    annealed: Annealed

    @property
    def evaluations(self) -> int:
        return (self.schedule.evaluations + self.annealed.evaluations) * len(self.estimates)


def stream_annealed(
    decoder: LatentModel,
    pixels: Tensor,
    *,
    iwae: Tensor,
    chains: int,
    temperatures: int,
    generator: torch.Generator,
    tell: Tell = unheard,
) -> Iterator[AnnealedNll]:
    """Anneal images in batches.

    Args:
        decoder: of the trained VAE.
        pixels: (N, 784), on the decoder's device.
        iwae: the IWAE bound of the same images, (N,).
        chains: K ≥ 2.
        temperatures: steps from prior to posterior; 0 lets a pilot choose.
        generator: the only source of randomness.
        tell: hears what fraction of the images is annealed, also on the way through a batch.

    Yields:
        What is known after each batch.

    Raises:
        RunFailed: the decoder returned NaN, or a pilot does not reach the posterior.
    """
    batches: list[_Batch] = []
    began = time.monotonic()
    done = 0
    for x in torch.split(pixels, IMAGES_AT_ONCE):
        of_batch = part(tell, start=done / len(pixels), share=len(x) / len(pixels))
        of_batch(STAGE, 0.0)  # a pilot takes a while
        schedule = choose_schedule(decoder, x, generator=generator, temperatures=temperatures)
        told = fraction_of(schedule.temperatures, stage=STAGE, tell=of_batch)
        done += len(x)
        found = anneal(decoder, x, schedule=schedule, chains=chains, generator=generator, told=told)
        summary = summarize(found.log_weight)
        estimates = [assess(summary.column(b), name="ais") for b in range(len(x))]
        batches.append(_Batch(estimates, schedule, found))
        yield _summary(batches, iwae=iwae, chains=chains, elapsed_s=time.monotonic() - began)


def _summary(batches: list[_Batch], *, iwae: Tensor, chains: int, elapsed_s: float) -> AnnealedNll:
    every = [estimate for batch in batches for estimate in batch.estimates]
    log_p = torch.tensor([estimate.log_p for estimate in every], dtype=torch.float64)
    errors = torch.tensor([estimate.std_error for estimate in every], dtype=torch.float64)
    difference = log_p - iwae[: len(every)]
    above, mean = average(difference), average(log_p)
    words = [estimate.verdict for estimate in every]
    acceptance = torch.cat([batch.annealed.acceptance for batch in batches])
    return AnnealedNll(
        images=len(every),
        chains=chains,
        temperatures=tuple(batch.schedule.temperatures for batch in batches),
        value=-mean.value,
        std_error=mean.std_error,
        monte_carlo_error=float(errors.square().sum().sqrt()) / len(every),
        iwae=-float(iwae[: len(every)].mean()),
        above_iwae=above,
        doubtful=above.value < 0,
        images_below=int((difference < 0).sum()),
        verdicts={word: words.count(word) for word in ("trust", "doubt", "reject")},
        acceptance=float(acceptance.mean()),
        evaluations=sum(batch.evaluations for batch in batches),
        elapsed_s=elapsed_s,
    )
