"""Lower bounds of log p(x) from posterior samples, image by image: ELBO and IWAE bounds, paired.

All bounds of an image come from the same K log-weights: the IWAE bound with k samples is averaged
over the K/k groups of k. By Jensen's inequality they then rise with k for every image, not just
on average. Blocks of images stream through; memory grows with K and with N only by a few numbers
an image.

Legend: N images, B of a block, K samples an image, D latent dimensions.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcli.evidence.model import LatentModel, log_likelihood
from dlcli.study.decoders import encoded
from dlcli.vae.evaluation import LatentUse
from dlcli.vae.model import VAE
from dlcli.vae.objective import kl_standard_normal, log_weights

ROWS_AT_ONCE = 100_000
"""Latents of a block, 8 MB for 20 dimensions; a GPU takes more at once."""
GPU_ROWS_AT_ONCE = 2_000_000
LATENTS_AT_ONCE = 4096
"""That a flow is given at once: its hidden units are twice the numbers of a latent."""


@dataclass(frozen=True, kw_only=True)
class Average:
    """A mean over images."""

    value: float
    std_error: float | None
    """Over images; None for a single one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """What is known of the first N images; every tensor is float64 on the CPU."""

    k: int
    log_lik: Tensor
    """Mean over samples of log p(x|z), (N,)."""
    kl: Tensor
    """KL(q(z|x) ‖ p(z)), (N,): in closed form, or with a learned prior over the samples."""
    iwae: dict[int, Tensor]
    """Samples → IWAE bound, (N,); rising from few to K."""
    ess: Tensor
    """Effective samples among the K, (N,)."""
    max_weight: Tensor
    """The largest weight's share, (N,)."""
    latents: LatentUse
    evaluations: int
    """Decoder evaluations."""
    elapsed_s: float
    total: int
    """Images there will be at the end."""

    @property
    def images(self) -> int:
        """N."""
        return len(self.kl)

    @property
    def elbo(self) -> Tensor:
        """E_q[log p(x|z)] − KL of each image, (N,)."""
        return self.log_lik - self.kl

    @property
    def best(self) -> Tensor:
        """The IWAE bound with all K samples, (N,)."""
        return self.iwae[self.k]

    @property
    def evaluations_per_s(self) -> float:
        """Decoder evaluations a second."""
        return self.evaluations / max(self.elapsed_s, 1e-9)

    def rises(self) -> bool:
        """Say whether ELBO ≤ IWAE-5 ≤ … ≤ IWAE-K, each within 3 standard errors over images."""
        for low, high in itertools.pairwise([self.elbo, *self.iwae.values()]):
            step = average(high - low)
            if step.value < -3 * (step.std_error or 0.0) - 1e-9:
                return False
        return True


def average(values: Tensor) -> Average:
    """Average over images, (N,), with its standard error."""
    count = len(values)
    spread = values.std().item() / math.sqrt(count) if count > 1 else None
    return Average(value=values.mean().item(), std_error=spread)


def group_sizes(k: int) -> list[int]:
    """Return the sample counts to report: 5, 50, 500, … below k, and k itself."""
    sizes = [5 * 10**power for power in range(7) if 5 * 10**power < k]
    return [*sizes, k]


@torch.inference_mode()
def stream_bounds(
    model: VAE,
    decoder: LatentModel,
    pixels: Tensor,
    *,
    k: int,
    generator: torch.Generator,
) -> Iterator[Bounds]:
    """Measure the bounds of images, block after block.

    Args:
        model: in evaluation mode; its encoder gives q(z|x).
        decoder: the same model's, of what its encoder's Gaussian is of (`of_encoded`).
        pixels: (N, 784) in [0, 1], on the model's device, N ≥ 1.
        k: K.
        generator: draws the noise, on the CPU or on the model's device.

    Yields:
        What is known after each block.

    Raises:
        RunFailed: the encoder or the decoder returned NaN.
    """
    N = len(pixels)
    mean, logvar = encoded(model, pixels)
    closed = kl_standard_normal(mean, logvar).double().cpu()  # (N, D)
    wide = model.latents(mean)[0].double().cpu()
    rows = ROWS_AT_ONCE if pixels.device.type == "cpu" else GPU_ROWS_AT_ONCE
    B = max(1, rows // k)
    # One table from the start: small tensors kept from every block lie between the large buffers
    # of the next, and the heap then grows by a buffer a block.
    table = torch.empty((4 + len(group_sizes(k)), N), dtype=torch.float64)
    measure = functools.partial(_block, decoder, latents=model.latents, k=k, generator=generator)
    began = time.monotonic()
    for start in range(0, N, B):
        cut = slice(start, start + B)
        table[:, cut] = measure(pixels[cut], posterior=(mean[cut], logvar[cut]))
        seen = min(start + B, N)
        columns = list(table[:, :seen])
        kl = closed[:seen].sum(1) if model.flow is None else columns[3]
        shares = closed[:seen].mean(0).tolist() if model.flow is None else []
        use = LatentUse(
            images=seen,
            kl=float(kl.mean()),
            kl_per_dim=tuple(shares),
            mean_variance=tuple(wide[:seen].var(0, unbiased=False).tolist()),
        )
        yield Bounds(
            k=k,
            log_lik=columns[0],
            kl=kl,
            iwae=dict(zip(group_sizes(k), columns[4:], strict=True)),
            ess=columns[1],
            max_weight=columns[2],
            latents=use,
            evaluations=seen * k,
            elapsed_s=time.monotonic() - began,
            total=N,
        )


def _block(
    decoder: LatentModel,
    x: Tensor,
    *,
    posterior: tuple[Tensor, Tensor],
    latents: Callable[[Tensor], tuple[Tensor, Tensor]],
    k: int,
    generator: torch.Generator,
) -> Tensor:
    """Return of each image, (·, B): log p(x|z), ESS, largest share, sampled KL, IWAE bounds."""
    mean, logvar = posterior
    eps = torch.randn((k, *mean.shape), generator=generator, device=generator.device).to(x.device)
    v = mean + (0.5 * logvar).exp() * eps  # (K, B, D)
    log_lik = log_likelihood(decoder, x, v).double()
    parts = [latents(part) for part in torch.split(v, max(1, LATENTS_AT_ONCE // len(x)))]
    z, log_det = (torch.cat(part) for part in zip(*parts, strict=True))  # (K, B, D), (K, B)
    log_w = log_weights(
        log_lik, z=z.double(), eps=eps.double(), logvar=logvar.double(), log_det=log_det
    )
    share = torch.softmax(log_w, dim=0)
    bounds = [grouped_bound(log_w, size=size) for size in group_sizes(k)]
    kl = (log_lik - log_w).mean(0)
    found = [log_lik.mean(0), 1 / share.square().sum(0), share.max(0).values, kl, *bounds]
    return torch.stack(found).cpu()


def grouped_bound(log_w: Tensor, *, size: int) -> Tensor:
    """Average the IWAE bound with `size` samples over groups of log-weights (K, B): (B,)."""
    K, B = log_w.shape
    groups = log_w[: K // size * size].reshape(K // size, size, B)
    return torch.logsumexp(groups, dim=1).mean(0) - math.log(size)
