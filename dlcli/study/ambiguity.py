"""The seed's eye test made a number: how ambiguous are generated digits (Questions 10 and 11)?

Legend: N images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.engine.seed import generator
from dlcli.study.judge import CLASSES, Judge
from dlcli.vae.gallery import pixel_values
from dlcli.vae.model import VAE

SURE = 0.9
"""A digit whose largest class probability is below this is ambiguous."""
DECODED_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a judge makes of some images; shares are 0 to 1."""

    images: int
    entropy: float
    """Mean entropy of the judge's class probabilities, nats; log 10 = 2.30 at most."""
    ambiguous: float
    """Share of images whose largest class probability is below 0.9."""
    ambiguous_std_error: float
    nearly_empty: float
    """Share of images with less ink than 99.5% of the real training digits."""
    class_shares: tuple[float, ...]
    """How many images are read as each digit."""

    @property
    def balance(self) -> float:
        """Entropy of the class shares over log 10: 1 where all digits are equally frequent."""
        terms = [share * math.log(share) for share in self.class_shares if share > 0]
        return -math.fsum(terms) / math.log(CLASSES)


@dataclass(frozen=True, kw_only=True)
class Ambiguity:
    """Generated digits as a judge reads them."""

    generated: Reading
    real: Reading
    """Of the data set's test digits, grey: what is ambiguous about digits as such."""
    pixels: str
    """What was read: means of p(x|z), z from the prior."""
    judge_accuracy: float
    """On the data set's test digits."""
    judge_data: str


@torch.inference_mode()
def stream_ambiguity(
    model: VAE,
    judge: Judge,
    *,
    real: Tensor,
    count: int,
    seed: int,
    likelihood: str = "bernoulli",
) -> Iterator[Ambiguity]:
    """Let the judge read real digits, then images generated now.

    Args:
        model: in evaluation mode.
        judge: trained on the model's data set.
        real: test digits, (M, 784) uint8.
        count: images to generate.
        seed: of their latents.
        likelihood: `bernoulli` or `continuous-bernoulli`.

    Yields:
        What is known after each batch.
    """
    device = next(model.parameters()).device
    stream = generator(seed, "ambiguity")
    grey = real.float() / 255
    baseline = summarize_reading(
        judge.read(grey), ink=grey.double().sum(1), least_ink=judge.least_ink
    )
    log_probs, inks = [], []
    for start in range(0, count, DECODED_AT_ONCE):
        size = min(DECODED_AT_ONCE, count - start)
        z = torch.randn(size, model.latent_dim, generator=stream)
        logits = model.decode(z.to(device)).float().cpu()
        pixels = pixel_values(logits, draw=False, likelihood=likelihood)
        log_probs.append(judge.read(pixels))
        inks.append(pixels.double().sum(1))
        reading = summarize_reading(
            torch.cat(log_probs), ink=torch.cat(inks), least_ink=judge.least_ink
        )
        yield Ambiguity(
            generated=reading,
            real=baseline,
            pixels="mean of p(x|z)",
            judge_accuracy=judge.accuracy,
            judge_data=judge.data,
        )


def summarize_reading(log_probs: Tensor, *, ink: Tensor, least_ink: float) -> Reading:
    """Summarise a judge's log class probabilities (N, 10) and the images' ink (N,)."""
    N = len(log_probs)
    wide = log_probs.double()
    probs = wide.exp()
    share = float((probs.max(1).values < SURE).double().mean())
    shares = torch.bincount(probs.argmax(1), minlength=CLASSES).double() / N
    return Reading(
        images=N,
        entropy=float(-torch.special.xlogy(probs, probs).sum(1).mean()),
        ambiguous=share,
        ambiguous_std_error=math.sqrt(share * (1 - share) / N),
        nearly_empty=float((ink < least_ink).double().mean()),
        class_shares=tuple(shares.tolist()),
    )
